"""Conversion of MediaPipe's face networks from TFLite to ONNX.

It covers the ten operators of these networks, in float, and refuses all others. Tensors of four dimensions are NCHW in
the result. The same input gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import tflite
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]

OPSET, IR_VERSION = 17, 8  # ONNX Runtime 1.18 and OpenVINO 2025.0 read them
NHWC_FROM_NCHW, NCHW_FROM_NHWC = (0, 2, 3, 1), (0, 3, 1, 2)
TYPES: dict[int, type[np.generic]] = {
    tflite.TensorType.FLOAT32: np.float32,
    tflite.TensorType.FLOAT16: np.float16,
    tflite.TensorType.INT32: np.int32,
}
ACTIVATIONS = {tflite.ActivationFunctionType.NONE: "", tflite.ActivationFunctionType.RELU: "Relu"}


@dataclass(frozen=True)
class Output:
    """Output of the result.

    Attributes:
        name: Name of the output.
        width: Number of values per row; rows are counted by the reader, which allows a free input size.
    """

    name: str
    width: int


@dataclass(frozen=True)
class Interface:
    """Input and outputs of the result.

    Attributes:
        size: Fixed height and width of the input; None: both are free.
        scale: Factor of the pixel values.
        offset: Value added to the scaled pixel values.
        outputs: Outputs, in the order of the TFLite model: each becomes (N, rows, width).
    """

    size: tuple[int, int] | None
    scale: float
    offset: float
    outputs: Sequence[Output]


class Converter:
    """Conversion of one network.

    Args:
        data: TFLite model.
        interface: Input and outputs of the result.
    """

    def __init__(self, data: bytes, interface: Interface) -> None:
        self.model = tflite.Model.GetRootAsModel(data, 0)
        self.graph = self.model.Subgraphs(0)
        self.interface = interface
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.names: dict[int, str] = {}  # name in the result, by the index of a TFLite tensor
        self.halves: dict[int, int] = {}  # float16 tensor of each dequantised tensor
        self.operators: dict[int, Callable[[Any, list[int]], str]] = {
            tflite.BuiltinOperator.ADD: self.add,
            tflite.BuiltinOperator.CONV_2D: self.convolve,
            tflite.BuiltinOperator.DEPTHWISE_CONV_2D: self.convolve_depthwise,
            tflite.BuiltinOperator.MAX_POOL_2D: self.pool,
            tflite.BuiltinOperator.PAD: self.pad,
            tflite.BuiltinOperator.PRELU: self.prelu,
            tflite.BuiltinOperator.RELU: lambda _, inputs: self.node("Relu", [self.names[inputs[0]]]),
            tflite.BuiltinOperator.RESHAPE: lambda _, inputs: self.names[inputs[0]],  # `finish` gives the rows
            tflite.BuiltinOperator.RESIZE_BILINEAR: self.resize,
        }

    def convert(self) -> bytes:
        """Return the serialised ONNX model.

        Raises:
            ValueError: Operator, type or option that the converter does not support.
        """
        size = self.interface.size or ("height", "width")
        shape = ["batch", *size, 3]
        inputs = [helper.make_tensor_value_info("images", TensorProto.UINT8, shape)]
        self.names[int(self.graph.Inputs(0))] = self.start("images")
        for index in range(self.graph.OperatorsLength()):
            self.convert_operator(self.graph.Operators(index))
        outputs = [
            self.finish(self.names[int(tensor)], output)
            for tensor, output in zip(self.graph.OutputsAsNumpy(), self.interface.outputs, strict=True)
        ]
        graph = helper.make_graph(self.nodes, "faces", inputs, outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="fer-edge")
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString(deterministic=True)

    def convert_operator(self, operator: Any) -> None:
        """Append the nodes of one operator."""
        code = self.model.OperatorCodes(operator.OpcodeIndex())
        kind = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())  # older files have only the second
        inputs = [int(tensor) for tensor in operator.InputsAsNumpy()]
        (output,) = (int(tensor) for tensor in operator.OutputsAsNumpy())
        if kind == tflite.BuiltinOperator.DEQUANTIZE:
            self.halves[output] = inputs[0]
            return
        if kind not in self.operators:
            raise ValueError(f"no conversion of TFLite's operator {kind}")
        self.names[output] = self.operators[kind](operator, inputs)

    def start(self, name: str) -> str:
        """Convert pixels to the values of the network, NCHW."""
        pixels = self.node("Cast", [name], to=TensorProto.FLOAT)
        scaled = self.node("Mul", [pixels, self.constant(np.float32(self.interface.scale))])
        if self.interface.offset:
            scaled = self.node("Add", [scaled, self.constant(np.float32(self.interface.offset))])
        return self.node("Transpose", [scaled], perm=NCHW_FROM_NHWC)

    def finish(self, name: str, output: Output) -> onnx.ValueInfoProto:
        """Convert an output to rows."""
        rows = self.node("Transpose", [name], perm=NHWC_FROM_NCHW)
        shape = self.constant(np.array([0, -1, output.width], np.int64))
        self.nodes.append(helper.make_node("Reshape", [rows, shape], [output.name]))
        return helper.make_tensor_value_info(
            output.name, TensorProto.FLOAT, ["batch", f"{output.name}_rows", output.width]
        )

    def add(self, operator: Any, inputs: list[int]) -> str:
        options = read_options(operator, tflite.AddOptions)
        return self.activate(self.node("Add", [self.names[tensor] for tensor in inputs]), options)

    def convolve(self, operator: Any, inputs: list[int]) -> str:
        options = read_options(operator, tflite.Conv2DOptions)
        return self.convolution(options, inputs, self.array(inputs[1]).transpose(NCHW_FROM_NHWC), groups=1)

    def convolve_depthwise(self, operator: Any, inputs: list[int]) -> str:
        options = read_options(operator, tflite.DepthwiseConv2DOptions)
        groups = self.shape(inputs[0])[3]
        return self.convolution(options, inputs, self.array(inputs[1]).transpose(3, 0, 1, 2), groups=groups)

    def convolution(self, options: Any, inputs: list[int], weights: Array, *, groups: int) -> str:
        if options.DilationHFactor() != 1 or options.DilationWFactor() != 1:
            raise ValueError("no conversion of dilated convolutions")
        attributes = self.window(options, inputs[0], weights.shape[2:])
        operands = [self.names[inputs[0]], self.weights(weights), self.weights(self.array(inputs[2]))]
        return self.activate(self.node("Conv", operands, group=groups, **attributes), options)

    def pool(self, operator: Any, inputs: list[int]) -> str:
        options = read_options(operator, tflite.Pool2DOptions)
        attributes = self.window(options, inputs[0], (options.FilterHeight(), options.FilterWidth()))
        return self.activate(self.node("MaxPool", [self.names[inputs[0]]], **attributes), options)

    def window(self, options: Any, tensor: int, kernel: Sequence[int]) -> dict[str, Any]:
        """Return kernel, strides and padding of a convolution or pool.

        The padding of "same" depends on the input size only through its remainder by the stride. All sides that are
        multiples of 64 have the remainder of the original size.
        """
        strides = (options.StrideH(), options.StrideW())
        pads = [0, 0]
        if options.Padding() == tflite.Padding.SAME:
            sides = self.shape(tensor)[1:3]
            pads = [
                max((-(-side // stride) - 1) * stride + length - side, 0)
                for side, stride, length in zip(sides, strides, kernel, strict=True)
            ]
        before = [pad // 2 for pad in pads]
        after = [pad - first for pad, first in zip(pads, before, strict=True)]
        return {"kernel_shape": list(kernel), "strides": strides, "pads": [*before, *after]}

    def pad(self, operator: Any, inputs: list[int]) -> str:
        pairs = self.array(inputs[1])[list(NCHW_FROM_NHWC)]
        amounts = self.constant(pairs.T.reshape(-1).astype(np.int64))
        return self.node("Pad", [self.names[inputs[0]], amounts], mode="constant")

    def prelu(self, operator: Any, inputs: list[int]) -> str:
        slope = self.array(inputs[1])
        return self.node("PRelu", [self.names[inputs[0]], self.weights(slope.transpose(2, 0, 1))])

    def resize(self, operator: Any, inputs: list[int]) -> str:
        options = read_options(operator, tflite.ResizeBilinearOptions)
        if options.AlignCorners():
            raise ValueError("no conversion of bilinear resizing with aligned corners")
        factors = self.array(inputs[1]) / self.shape(inputs[0])[1:3]
        return self.node(
            "Resize",
            [self.names[inputs[0]], "", self.constant(np.array([1, 1, *factors], np.float32))],
            mode="linear",
            coordinate_transformation_mode="half_pixel" if options.HalfPixelCenters() else "asymmetric",
        )

    def activate(self, name: str, options: Any) -> str:
        """Append the activation that is part of an operator."""
        kind = options.FusedActivationFunction()
        if kind not in ACTIVATIONS:
            raise ValueError(f"no conversion of TFLite's activation {kind}")
        return self.node(ACTIVATIONS[kind], [name]) if ACTIVATIONS[kind] else name

    def node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def weights(self, values: Array) -> str:
        """Add weights as float16; engines convert them once, on loading."""
        return self.node("Cast", [self.constant(values.astype(np.float16))], to=TensorProto.FLOAT)

    def constant(self, values: Array | np.generic) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def shape(self, tensor: int) -> list[int]:
        return [int(side) for side in self.graph.Tensors(tensor).ShapeAsNumpy()]

    def array(self, tensor: int) -> Array:
        """Return the values of a constant."""
        tensor = self.halves.get(tensor, tensor)
        entry = self.graph.Tensors(tensor)
        if entry.Type() not in TYPES:
            raise ValueError(f"no conversion of TFLite's type {entry.Type()}")
        data = self.model.Buffers(entry.Buffer()).DataAsNumpy()
        if isinstance(data, int):
            raise ValueError("an operator needs a constant where the model computes a value")
        return np.frombuffer(data.tobytes(), TYPES[entry.Type()]).reshape(self.shape(tensor))


def read_options(operator: Any, kind: Any) -> Any:
    """Return the options of an operator; those of TFLite's generated classes have to be read by their class."""
    options = kind()
    table = operator.BuiltinOptions()
    options.Init(table.Bytes, table.Pos)
    return options


def onnx_from_tflite(data: bytes, interface: Interface) -> bytes:
    """Convert a TFLite model.

    Args:
        data: TFLite model.
        interface: Input and outputs of the result.

    Raises:
        ValueError: Operator, type or option that the converter does not support.
    """
    return Converter(data, interface).convert()
