"""fer-edge's OpenVINO engine against a plain `torch.onnx` export of the same weights on the same OpenVINO, interleaved.

`deploy` is the deploy graph as it stands; `engine` is what users run: the same graph with the engine's own rewriting of
wide convolutions, behind the runner's checks.

All start from the same uint8 pixels: ours normalise inside, the plain export is given what NumPy normalised.
The plain network without that is timed too. `--slopes trained` gives every PReLU a slope of its own, as training does;
`--slopes initial` leaves all at 0.25, which the exporter then stores once, and OpenVINO no longer fuses.
"""

from __future__ import annotations

import argparse
import copy
import logging
import warnings
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino
import torch
from torch import nn

from benchmarks import turns
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
    """The model with the identity shortcuts that face.evoLVe and the authors' code have: max pools of size 1."""
    plain = copy.deepcopy(model)
    for module in plain.modules():
        if isinstance(module, IRBlock) and module.shortcut is None:
            module.shortcut = nn.MaxPool2d(1, module.stride)  # type: ignore[assignment]
    return plain


def plain_onnx(model: FERFormer) -> bytes:
    """What `torch.onnx.export` gives for the published form of the model, with a fixed batch of one."""
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            as_published(model), (torch.zeros(1, 3, 112, 112),), dynamo=True, input_names=["images"], verbose=False
        )
    assert program is not None
    return bytes(program.model_proto.SerializeToString())


def network(model: bytes, threads: int) -> Any:
    """A compiled request for batch 1."""
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    core = openvino.Core()
    read = core.read_model(model)
    read.reshape([1, *(size.get_length() for size in list(read.inputs[0].partial_shape)[1:])])
    return core.compile_model(read, "CPU", settings).create_infer_request()


def contenders(checkpoint: Checkpoint, threads: int) -> dict[str, Callable[[Pixels], Any]]:
    """What is timed, by name; each takes uint8 pixels (1, 112, 112, 3)."""
    plain = network(plain_onnx(checkpoint.model), threads)
    graph = onnx_from_checkpoint(checkpoint)
    deploy = network(graph, threads)
    engine = get_engine("openvino").load(Artifact(graph, None, 1), RunOptions(threads=threads))
    mean = np.asarray(checkpoint.info.mean, np.float32)
    scale = 1 / np.asarray(checkpoint.info.std, np.float32)
    fixed = np.random.default_rng(0).standard_normal((1, 3, 112, 112)).astype(np.float32)

    def normalised(pixels: Pixels) -> npt.NDArray[np.float32]:
        scaled = (pixels * np.float32(1 / 255) - mean) * scale
        return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))

    def infer(request: Any, images: npt.NDArray[Any]) -> Any:
        return request.infer([images], share_inputs=True, share_outputs=True)

    return {
        "plain": lambda pixels: infer(plain, normalised(pixels)),
        "plain_network": lambda pixels: infer(plain, fixed),
        "deploy": lambda pixels: infer(deploy, pixels),
        "engine": engine.infer,
    }


def main() -> None:
    """Print figures; write them as CSV where asked to."""
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
    turns.run(calls, pairs, arguments.rounds, settings, arguments.csv)


if __name__ == "__main__":
    main()
