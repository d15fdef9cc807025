"""The deploy graph against a plain `torch.onnx` export of the same weights, on the same OpenVINO, interleaved."""

from __future__ import annotations

import argparse
import csv
import logging
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch

from fer_edge.bench.latency import environment
from fer_edge.export.onnx_graph import onnx_from_checkpoint
from fer_edge.labels import FERPLUS
from fer_edge.model.checkpoint import Checkpoint, CheckpointInfo
from fer_edge.model.config import preset
from fer_edge.model.ferformer import FERFormer
from tests.tiny_model import settle

SETTINGS = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 2}


def plain_onnx(model: FERFormer) -> bytes:
    """What `torch.onnx.export` gives for the model as it is, with a fixed batch of one."""
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model, (torch.zeros(1, 3, 112, 112),), dynamo=True, input_names=["images"], verbose=False
        )
    assert program is not None
    return bytes(program.model_proto.SerializeToString())


def request_for(model: bytes) -> tuple[Any, Any]:
    """A compiled request for batch 1 and an input for it."""
    core = openvino.Core()
    network = core.read_model(model)
    shape = [1 if size.is_dynamic else size.get_length() for size in network.inputs[0].partial_shape]
    network.reshape(shape)
    request = core.compile_model(network, "CPU", SETTINGS).create_infer_request()
    rng = np.random.default_rng(0)
    if shape[1] == 3:
        return request, rng.standard_normal(shape).astype(np.float32)
    return request, rng.integers(0, 256, shape, dtype=np.uint8)


def main() -> None:
    """Print medians and the median of the pairwise ratios; write them as CSV where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    config = preset(arguments.preset, classes=len(FERPLUS))
    torch.manual_seed(0)
    model = settle(FERFormer(config))
    info = CheckpointInfo(
        config, FERPLUS.labels, FERPLUS.words, (), "unset", (0.5,) * 3, (0.25,) * 3, "mean", {}, {"weights": "random"}
    )
    pairs = [request_for(plain_onnx(model)), request_for(onnx_from_checkpoint(Checkpoint(model, info)))]
    times = np.zeros((arguments.rounds + 5, 2))
    for row in times:
        for index, (request, images) in enumerate(pairs):
            started = time.perf_counter()
            request.infer([images], share_inputs=True, share_outputs=True)
            row[index] = 1000 * (time.perf_counter() - started)
    times = times[5:]
    ratios = times[:, 1] / times[:, 0]
    result = {
        "preset": arguments.preset,
        "rounds": len(times),
        "plain_p50_ms": round(float(np.median(times[:, 0])), 3),
        "deploy_p50_ms": round(float(np.median(times[:, 1])), 3),
        "ratio_of_p50": round(float(np.median(times[:, 1]) / np.median(times[:, 0])), 4),
        "ratio_of_p10": round(float(np.percentile(times[:, 1], 10) / np.percentile(times[:, 0], 10)), 4),
        "median_pairwise_ratio": round(float(np.median(ratios)), 4),
        **environment(),
    }
    for name, value in result.items():
        print(f"{name}: {value}")
    if arguments.csv is not None:
        arguments.csv.parent.mkdir(parents=True, exist_ok=True)
        with arguments.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, result.keys())
            writer.writeheader()
            writer.writerow(result)


if __name__ == "__main__":
    main()
