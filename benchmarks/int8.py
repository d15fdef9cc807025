"""Compare the int8 graph with the fp32 graph on the same engine, and with NNCF's quantisation of a plain export.

`openvino_fp32` is fer-edge's engine, which rewrites wide convolutions. `openvino_fp32_direct` is the same graph on
OpenVINO without this engine, and `openvino_fp32_plain` is a plain export on OpenVINO.

NNCF (`pip install nncf`) is skipped if it is not installed. Its models run with OpenVINO's default precision hint, as
their users would run them.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import in_process
from benchmarks.plain_export import plain_onnx
from fer_edge.calibration.histograms import measure
from fer_edge.calibration.images import choose_images
from fer_edge.data.layouts import read_split
from fer_edge.engines.base import Artifact, Images, RunOptions
from fer_edge.engines.registry import get_engine
from fer_edge.export.build import typed_graph
from fer_edge.export.onnx_graph import onnx_from_checkpoint
from fer_edge.labels import FERPLUS
from fer_edge.model.checkpoint import Checkpoint, CheckpointInfo, load_checkpoint
from fer_edge.model.config import preset
from fer_edge.model.ferformer import FERFormer
from tests.tiny_model import settle

EDGE = Path(__file__).parents[1] / "fer_edge" / "weights" / "edge.safetensors"


def checkpoint_of(name: str) -> Checkpoint:
    """Load the shipped model `edge`, or make another preset with random weights."""
    if name == "edge":
        return load_checkpoint(EDGE)
    torch.manual_seed(0)
    model = settle(FERFormer(preset(name, classes=len(FERPLUS))))
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    info = CheckpointInfo(model.config, FERPLUS.labels, FERPLUS.words, (), "unset", mean, std)
    return Checkpoint(model, info)


def nncf_models(plain: bytes, checkpoint: Checkpoint, images: Images) -> dict[str, Any]:
    """Quantise a plain export with NNCF's default and transformer settings."""
    try:
        import nncf
        import openvino
    except ImportError:
        return {}
    mean, std = (np.asarray(values, np.float32) for values in (checkpoint.info.mean, checkpoint.info.std))

    def normalise(image: Images) -> Any:
        return ((image[None] / np.float32(255) - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)

    models = {}
    for name, settings in {"default": {}, "transformer": {"model_type": nncf.ModelType.TRANSFORMER}}.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = openvino.Core().read_model(plain)
            network = nncf.quantize(network, nncf.Dataset(list(images), normalise), subset_size=len(images), **settings)
        models[f"nncf_{name}"] = network
    return models


def contenders(checkpoint: Checkpoint, data: Path, count: int, threads: int) -> dict[str, Callable[[Images], Any]]:
    """Return the functions to time by name; each takes uint8 pixels of shape (1, 112, 112, 3)."""
    import openvino

    model = onnx_from_checkpoint(checkpoint)
    chosen = choose_images(read_split(data, "train"), data, count)
    ranges = measure(model, "benchmark", chosen)
    graphs = {
        "fp32": typed_graph(checkpoint, "fp32"),
        "int8": typed_graph(checkpoint, "int8", replace(ranges, float_layers=()), unsigned=True),
    }
    run: dict[str, Callable[[Images], Any]] = {}
    for engine in ("openvino", "onnxruntime"):
        for name, graph in graphs.items():
            runner = get_engine(engine).load(Artifact(graph.to_bytes(), None, 1), RunOptions(threads=threads))
            run[f"{engine}_{name}"] = runner.infer
    run["openvino_fp32_direct"] = openvino_request(openvino.Core().read_model(model.to_bytes()), threads, "f32")
    plain = plain_onnx(checkpoint.model)
    others = {"openvino_fp32_plain": openvino_request(openvino.Core().read_model(plain), threads, "f32")}
    for name, network in nncf_models(plain, checkpoint, np.concatenate(list(chosen.batches(16)))).items():
        others[name] = openvino_request(network, threads, None)
    fixed = np.random.default_rng(0).standard_normal((1, 3, 112, 112)).astype(np.float32)
    for name, request in others.items():
        run[name] = lambda pixels, request=request: request(fixed)  # type: ignore[misc]
    return run


def openvino_request(network: Any, threads: int, hint: str | None) -> Callable[[Any], Any]:
    """Return a function that runs a model for one image on OpenVINO, without fer-edge's engine.

    Args:
        network: OpenVINO model.
        threads: Number of CPU threads.
        hint: Precision hint; None: OpenVINO's default.
    """
    import openvino

    network.reshape([1, *(size.get_length() for size in list(network.inputs[0].partial_shape)[1:])])
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": threads}
    if hint is not None:
        settings["INFERENCE_PRECISION_HINT"] = hint
    request = openvino.Core().compile_model(network, "CPU", settings).create_infer_request()
    return lambda images: request.infer([images], share_inputs=True, share_outputs=True)


def main() -> None:
    """Print results and write them as CSV if a file is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="FERPlus folder to calibrate on")
    parser.add_argument("--preset", default="edge")
    parser.add_argument("--count", type=int, default=128, help="number of images to calibrate on")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    run = contenders(checkpoint_of(arguments.preset), arguments.data, arguments.count, arguments.threads)
    settings = {name: getattr(arguments, name) for name in ("preset", "threads", "count")}
    pixels = np.random.default_rng(0).integers(0, 256, (1, 112, 112, 3), dtype=np.uint8)
    calls = {name: partial(call, pixels) for name, call in run.items()}
    others = [name for name in run if name != "openvino_int8" and not name.startswith("onnxruntime")]
    pairs = [("onnxruntime_int8", "onnxruntime_fp32"), *(("openvino_int8", other) for other in others)]
    in_process.run(calls, pairs, arguments.rounds, settings, arguments.csv)


if __name__ == "__main__":
    main()
