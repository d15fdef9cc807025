"""An engine in one file: ONNX's reference evaluator, which computes every operator in NumPy."""

from __future__ import annotations

# --8<-- [start:engine]
from collections.abc import Sequence
from typing import Any

from fer_edge.engines.base import (
    INPUT_NAME,
    OUTPUT_NAMES,
    Artifact,
    BuildRequest,
    BuiltEngine,
    Engine,
    ExecutedOperator,
    Images,
    Prediction,
    Runner,
    RunOptions,
)
from fer_edge.engines.capabilities import TensorReader, Tensors
from fer_edge.engines.messages import LOAD, engine_error, unavailable
from fer_edge.engines.outputs import check_outputs
from fer_edge.engines.quiet import Package, import_package
from fer_edge.errors import UnsupportedTargetError

PACKAGE = Package("onnx", "onnx")


class ReferenceRunner(Runner):
    """Runner of the reference evaluator."""

    engine = "onnx-reference"
    title = "ONNX's reference evaluator"

    def __init__(self, evaluator: Any, max_batch: int) -> None:
        super().__init__(max_batch)
        self._evaluator = evaluator
        check_outputs({name: () for name in evaluator.output_names})

    def _infer(self, images: Images) -> Prediction:
        outputs = dict(zip(self._evaluator.output_names, self._evaluator.run(None, {INPUT_NAME: images}), strict=True))
        return Prediction(*(outputs.get(name) for name in OUTPUT_NAMES))  # type: ignore[arg-type]


class ReferenceTensors(TensorReader):
    """Tensors inside a graph."""

    def __init__(self, model: bytes, names: Sequence[str]) -> None:
        self._names, self._evaluator = list(names), open_evaluator(model)

    def read(self, images: Images) -> Tensors:
        return dict(zip(self._names, self._evaluator.run(self._names, {INPUT_NAME: images}), strict=True))


class ReferenceEngine(Engine):
    """The reference evaluator, for fp32 graphs."""

    name = "onnx-reference"
    packages = (PACKAGE,)
    tensor_reader = ReferenceTensors

    def version(self) -> str:
        return str(onnx().__version__)

    def check_runnable(self) -> None:
        onnx()

    def build(self, model: bytes, request: BuildRequest) -> BuiltEngine:
        if request.precision != "fp32" or set(request.targets) - {"cpu"}:
            raise UnsupportedTargetError("onnx-reference runs fp32 on cpu; build it with: --precision fp32")
        operators = tuple(
            ExecutedOperator(node.op_type, "fp32", (node.name,), node.op_type in ("Conv", "Gemm", "MatMul"))
            for node in onnx().load_from_string(model).graph.node
        )
        return BuiltEngine(("cpu",), self.version(), operators=operators)

    def load(self, artifact: Artifact, options: RunOptions) -> Runner:
        return ReferenceRunner(open_evaluator(artifact.model), artifact.max_batch)


def open_evaluator(model: bytes) -> Any:
    """Open a typed ONNX model."""
    from importlib import import_module

    try:
        return import_module("onnx.reference").ReferenceEvaluator(onnx().load_from_string(model))
    except Exception as error:
        raise engine_error(ReferenceRunner.title, LOAD, error) from error


def onnx() -> Any:
    """Return the imported package."""
    try:
        return import_package(PACKAGE)
    except Exception as error:
        raise unavailable("ONNX", "cannot be imported", error, "pip install onnx") from error


ENGINE = ReferenceEngine()
# --8<-- [end:engine]
