"""Compare fer-edge's OpenVINO engine with a plain `torch.onnx` export of the same weights on OpenVINO.

`deploy` is the deploy graph without changes. `engine` is the engine that users run: the same graph with rewritten wide
convolutions, and the checks of the runner.

All start from the same uint8 pixels. The deploy graph normalises inside the model; pixels for the plain export are
normalised with NumPy, and `plain_network` is the plain export without this step. `--slopes trained` gives every PReLU
its own slopes, as training does. With `--slopes initial` all slopes are 0.25: the exporter stores them once, and
OpenVINO does not fuse a shared slope.
"""

from __future__ import annotations

import argparse
import copy
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino
import torch
from torch import nn

from benchmarks import in_process
from fer_edge.engines.base import Artifact, RunOptions
from fer_edge.engines.registry import get_engine
from fer_edge.export.onnx_graph import onnx_from_checkpoint
from fer_edge.labels import FERPLUS
from fer_edge.model.checkpoint import Checkpoint, CheckpointInfo
from fer_edge.model.config import preset
from fer_edge.model.ferformer import FERFormer
from fer_edge.model.stem import IRBlock
from tests.tiny_model import settle

Pixels = npt.NDArray[np.uint8]


def as_published(model: FERFormer) -> FERFormer:
    """Copy the model with the identity shortcuts of face.evoLVe and the authors' code: max pools of size 1."""
    plain = copy.deepcopy(model)
    for module in plain.modules():
        if isinstance(module, IRBlock) and module.shortcut is None:
            module.shortcut = nn.MaxPool2d(1, module.stride)  # type: ignore[assignment]
    return plain


def plain_onnx(model: FERFormer) -> bytes:
    """Export the published form of the model with `torch.onnx.export`, with a fixed batch of one."""
    with _silent_logging(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            as_published(model), (torch.zeros(1, 3, 112, 112),), dynamo=True, input_names=["images"], verbose=False
        )
    assert program is not None
    return bytes(program.model_proto.SerializeToString())


@contextmanager
def _silent_logging() -> Iterator[None]:
    """Disable log messages up to warnings in the block: the exporter logs many."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def network(model: bytes, threads: int) -> Any:
    """Compile a model for batch 1 and return its request."""
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    core = openvino.Core()
    graph = core.read_model(model)
    graph.reshape([1, *(size.get_length() for size in list(graph.inputs[0].partial_shape)[1:])])
    return core.compile_model(graph, "CPU", settings).create_infer_request()


def contenders(checkpoint: Checkpoint, threads: int) -> dict[str, Callable[[Pixels], Any]]:
    """Return the functions to time by name; each takes uint8 pixels of shape (1, 112, 112, 3)."""
    plain = network(plain_onnx(checkpoint.model), threads)
    graph = onnx_from_checkpoint(checkpoint).to_bytes()
    deploy = network(graph, threads)
    engine = get_engine("openvino").load(Artifact(graph, None, 1), RunOptions(threads=threads))
    mean = np.asarray(checkpoint.info.mean, np.float32)
    scale = 1 / np.asarray(checkpoint.info.std, np.float32)
    fixed = np.random.default_rng(0).standard_normal((1, 3, 112, 112)).astype(np.float32)

    def normalise(pixels: Pixels) -> npt.NDArray[np.float32]:
        scaled = (pixels * np.float32(1 / 255) - mean) * scale
        return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))

    def infer(request: Any, images: npt.NDArray[Any]) -> Any:
        return request.infer([images], share_inputs=True, share_outputs=True)

    return {
        "plain": lambda pixels: infer(plain, normalise(pixels)),
        "plain_network": lambda pixels: infer(plain, fixed),
        "deploy": lambda pixels: infer(deploy, pixels),
        "engine": engine.infer,
    }


def main() -> None:
    """Print results and write them as CSV if a file is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--slopes", choices=("initial", "trained"), default="trained")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    config = preset(arguments.preset, classes=len(FERPLUS))
    torch.manual_seed(0)
    model = FERFormer(config).eval()
    if arguments.slopes == "trained":
        model = settle(model)
    info = CheckpointInfo(
        config, FERPLUS.labels, FERPLUS.words, (), "unset", (0.5,) * 3, (0.25,) * 3, "mean", {}, {"weights": "random"}
    )
    settings = {name: getattr(arguments, name) for name in ("preset", "slopes", "threads")}
    run = contenders(Checkpoint(model, info), arguments.threads)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 112, 112, 3), dtype=np.uint8)
    calls = {name: partial(call, pixels) for name, call in run.items()}
    pairs = product(("engine", "deploy"), ("plain", "plain_network"))
    in_process.run(calls, pairs, arguments.rounds, settings, arguments.csv)


if __name__ == "__main__":
    main()
