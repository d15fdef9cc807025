"""Conversion from TFLite: hand-made graphs give the same values as OpenVINO's own reader of TFLite."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from fer_edge.engines.base import RunOptions
from fer_edge.engines.registry import get_engine

flatbuffers = pytest.importorskip("flatbuffers")
tflite = pytest.importorskip("tflite", reason='needs tflite, which is in the extra "dev"')

SCRIPT = Path(__file__).parents[1] / "scripts" / "tflite_to_onnx.py"
SHAPE = (1, 8, 8, 3)  # of the input
Kinds = tflite.BuiltinOperator


@pytest.fixture(scope="module")
def converter() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tflite_to_onnx", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tflite_to_onnx"] = module
    spec.loader.exec_module(module)
    return module


@dataclass
class TFLiteGraph:
    """A chain of operators, written as TFLite."""

    builder: Any = field(default_factory=lambda: flatbuffers.Builder(1024))
    buffers: list[Any] = field(default_factory=list)
    tensors: list[Any] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    operators: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.last = self.tensor(SHAPE)

    def vector(self, start: Callable[[Any, int], Any], items: Sequence[int], number: bool = False) -> Any:
        start(self.builder, len(items))
        for item in reversed(items):
            (self.builder.PrependInt32 if number else self.builder.PrependUOffsetTRelative)(item)
        return self.builder.EndVector()

    def tensor(self, shape: Sequence[int], values: npt.NDArray[Any] | None = None) -> int:
        data = None if values is None else self.builder.CreateByteVector(values.tobytes())
        tflite.BufferStart(self.builder)
        if data is not None:
            tflite.BufferAddData(self.builder, data)
        self.buffers.append(tflite.BufferEnd(self.builder))
        dimensions = self.vector(tflite.TensorStartShapeVector, shape, number=True)
        name = self.builder.CreateString(f"tensor{len(self.tensors)}")
        is_integer = values is not None and values.dtype == np.int32
        tflite.TensorStart(self.builder)
        tflite.TensorAddShape(self.builder, dimensions)
        tflite.TensorAddType(self.builder, tflite.TensorType.INT32 if is_integer else tflite.TensorType.FLOAT32)
        tflite.TensorAddBuffer(self.builder, len(self.buffers) - 1)
        tflite.TensorAddName(self.builder, name)
        self.tensors.append(tflite.TensorEnd(self.builder))
        return len(self.tensors) - 1

    def append(
        self, kind: int, shape: Sequence[int], *constants: npt.NDArray[Any], options: tuple[int, Any] | None = None
    ) -> None:
        inputs = [self.last, *(self.tensor(values.shape, values) for values in constants)]
        self.last = self.tensor(shape)
        inputs_vector = self.vector(tflite.OperatorStartInputsVector, inputs, number=True)
        outputs_vector = self.vector(tflite.OperatorStartOutputsVector, [self.last], number=True)
        tflite.OperatorStart(self.builder)
        tflite.OperatorAddOpcodeIndex(self.builder, len(self.kinds))
        tflite.OperatorAddInputs(self.builder, inputs_vector)
        tflite.OperatorAddOutputs(self.builder, outputs_vector)
        if options is not None:
            tflite.OperatorAddBuiltinOptionsType(self.builder, options[0])
            tflite.OperatorAddBuiltinOptions(self.builder, options[1])
        self.operators.append(tflite.OperatorEnd(self.builder))
        self.kinds.append(kind)

    def options(self, name: str, **values: int) -> tuple[int, Any]:
        getattr(tflite, f"{name}Start")(self.builder)
        for key, value in values.items():
            getattr(tflite, f"{name}Add{key}")(self.builder, value)
        return getattr(tflite.BuiltinOptions, name), getattr(tflite, f"{name}End")(self.builder)

    def serialize(self) -> bytes:
        codes = []
        for kind in self.kinds:
            tflite.OperatorCodeStart(self.builder)
            tflite.OperatorCodeAddDeprecatedBuiltinCode(self.builder, kind)
            tflite.OperatorCodeAddBuiltinCode(self.builder, kind)
            codes.append(tflite.OperatorCodeEnd(self.builder))
        vectors = [
            self.vector(tflite.SubGraphStartTensorsVector, self.tensors),
            self.vector(tflite.SubGraphStartInputsVector, [0], number=True),
            self.vector(tflite.SubGraphStartOutputsVector, [self.last], number=True),
            self.vector(tflite.SubGraphStartOperatorsVector, self.operators),
        ]
        tflite.SubGraphStart(self.builder)
        for name, vector in zip(("Tensors", "Inputs", "Outputs", "Operators"), vectors, strict=True):
            getattr(tflite, f"SubGraphAdd{name}")(self.builder, vector)
        graph = tflite.SubGraphEnd(self.builder)
        graphs = self.vector(tflite.ModelStartSubgraphsVector, [graph])
        code_vector = self.vector(tflite.ModelStartOperatorCodesVector, codes)
        buffers = self.vector(tflite.ModelStartBuffersVector, self.buffers)
        tflite.ModelStart(self.builder)
        tflite.ModelAddVersion(self.builder, 3)
        tflite.ModelAddOperatorCodes(self.builder, code_vector)
        tflite.ModelAddSubgraphs(self.builder, graphs)
        tflite.ModelAddBuffers(self.builder, buffers)
        self.builder.Finish(tflite.ModelEnd(self.builder), b"TFL3")
        return bytes(self.builder.Output())


def random(*shape: int) -> npt.NDArray[np.float32]:
    """Return values that float16 represents."""
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float16).astype(np.float32)


def graph_of_all_operators(half_pixel: bool) -> bytes:
    graph = TFLiteGraph()
    relu, same, valid = tflite.ActivationFunctionType.RELU, tflite.Padding.SAME, tflite.Padding.VALID
    strided = graph.options("Conv2DOptions", Padding=same, StrideH=2, StrideW=2, DilationHFactor=1, DilationWFactor=1)
    graph.append(Kinds.CONV_2D, (1, 4, 4, 4), random(4, 3, 3, 3), random(4), options=strided)
    graph.append(Kinds.PRELU, (1, 4, 4, 4), random(1, 1, 4))
    depthwise = graph.options(
        "DepthwiseConv2DOptions", Padding=same, StrideH=1, StrideW=1, DepthMultiplier=1, FusedActivationFunction=relu,
        DilationHFactor=1, DilationWFactor=1,
    )  # fmt: skip
    graph.append(Kinds.DEPTHWISE_CONV_2D, (1, 4, 4, 4), random(1, 3, 3, 4), random(4), options=depthwise)
    pool = graph.options("Pool2DOptions", Padding=valid, StrideH=2, StrideW=2, FilterHeight=2, FilterWidth=2)
    graph.append(Kinds.MAX_POOL_2D, (1, 2, 2, 4), options=pool)
    graph.append(Kinds.PAD, (1, 2, 2, 6), np.array([(0, 0), (0, 0), (0, 0), (0, 2)], np.int32))
    resize = graph.options("ResizeBilinearOptions", HalfPixelCenters=half_pixel)
    graph.append(Kinds.RESIZE_BILINEAR, (1, 4, 4, 6), np.array([4, 4], np.int32), options=resize)
    pointwise = graph.options(
        "Conv2DOptions", Padding=valid, StrideH=1, StrideW=1, DilationHFactor=1, DilationWFactor=1
    )
    graph.append(Kinds.CONV_2D, (1, 4, 4, 5), random(5, 1, 1, 6), random(5), options=pointwise)
    return graph.serialize()


@pytest.mark.parametrize("half_pixel", [False, True])
@pytest.mark.parametrize("size", [(8, 8), None])
def test_values_are_those_of_tflite(
    converter: ModuleType, tmp_path: Path, half_pixel: bool, size: tuple[int, int] | None
) -> None:
    data = graph_of_all_operators(half_pixel)
    path = tmp_path / "graph.tflite"
    path.write_bytes(data)
    interface = converter.Interface(size, 1 / 127.5, -1.0, (converter.Output("rows", 5),))
    converted = converter.onnx_from_tflite(data, interface)
    assert converted == converter.onnx_from_tflite(data, interface)
    pixels = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
    results = []
    for engine in ("openvino", "onnxruntime"):
        execution = get_engine(engine).open_graph(converted, RunOptions(threads=1)).compile(SHAPE)
        execution.input[:] = pixels
        results.append(execution.run()["rows"].copy())
    # After the package's own Core was created: two must not be destroyed in the order of their creation.
    compiled = (
        importlib.import_module("openvino").Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    )
    reference = compiled([pixels / np.float32(127.5) - 1])[0].reshape(1, 16, 5)
    for values in results:
        np.testing.assert_allclose(values, reference, atol=1e-4)


def test_other_operators_are_refused(converter: ModuleType) -> None:
    graph = TFLiteGraph()
    graph.append(Kinds.TANH, SHAPE)
    with pytest.raises(ValueError, match=f"no conversion of TFLite's operator {Kinds.TANH}"):
        converter.onnx_from_tflite(graph.serialize(), converter.Interface(None, 1.0, 0.0, (converter.Output("a", 3),)))
