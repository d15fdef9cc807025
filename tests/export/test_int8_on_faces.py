"""Int8 and fp16 graphs of real weights on real faces: accuracy, agreement, and reproduction of the shipped graphs."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from fer_edge.bundle import Bundle
from fer_edge.calibration.histograms import measure
from fer_edge.calibration.images import CalibrationImages, CalibrationSet, choose_images, read_set
from fer_edge.calibration.score import Scorer
from fer_edge.data.layouts import read_split
from fer_edge.data.sources import image_set
from fer_edge.engines.base import Artifact, BuildRequest, Floats, Images, RunOptions
from fer_edge.engines.registry import get_engine
from fer_edge.export.build import typed_graph
from fer_edge.export.onnx_graph import onnx_from_checkpoint
from fer_edge.graph.precision import prove_precision
from fer_edge.graph.qdq import chosen_layers
from fer_edge.graph.ranges import read_ranges
from fer_edge.graph.typed_graph import TypedGraph
from fer_edge.labels import FERPLUS
from fer_edge.model.checkpoint import Checkpoint, load_checkpoint
from fer_edge.shipped import shipped_names
from tests.export.test_parity_on_faces import release_checkpoint
from tests.shipped import CALIBRATION, WEIGHTS, checkpoint_file, hashes, lock_file, made_with, ranges_file

SET = CALIBRATION / "ferplus-512.json"
each_model = pytest.mark.parametrize("name", shipped_names("checkpoint"))


@cache
def checkpoint(name: str) -> Checkpoint:
    return load_checkpoint(checkpoint_file(name))


@cache
def scorer(name: str, engine: str, ferplus: Path) -> Scorer:
    """Return a scorer for the validation split; the float graph runs once per model and engine."""
    scorer = Scorer(onnx_from_checkpoint(checkpoint(name)), image_set(ferplus, FERPLUS.labels), engine)
    assert len(scorer.labels) == 3191
    return scorer


def first_images(images: CalibrationSet, root: Path, count: int) -> CalibrationImages:
    return replace(images, images=images.images[:count]).open(root)


@pytest.mark.slow
@each_model
def test_shipped_graphs_are_reproduced_bit_for_bit(name: str) -> None:
    lock = json.loads(lock_file(name).read_text())
    if lock.pop("made_with") != made_with():
        pytest.skip("the hashes are valid for other versions of torch, onnx or onnxscript, or another platform")
    assert hashes(name) == lock, "the shipped checkpoint, its ranges or the export changed: run scripts/ship"
    for bundle, graph in ((name, "fp32"), (f"{name}-int8", "int8")):
        shipped = Bundle.open(WEIGHTS / f"{bundle}.fer").manifest
        assert shipped.files["model.onnx"]["sha256"] == lock["graphs"][graph]
        assert shipped.checkpoint["sha256"] == lock["checkpoint"]


@pytest.mark.data
@pytest.mark.slow
@each_model
def test_shipped_ranges_are_reproduced(name: str, ferplus: Path) -> None:
    chosen = read_set(SET)
    assert choose_images(read_split(ferplus, "train"), ferplus, len(chosen), chosen.seed).set == chosen
    shipped = read_ranges(ranges_file(name))
    again = measure(onnx_from_checkpoint(checkpoint(name)), shipped.checkpoint, chosen.open(ferplus), shipped.method)
    assert again.images == shipped.images
    assert list(again.tensors) == list(shipped.tensors)
    for tensor, measured in again.tensors.items():
        # Processors may round the last of four digits differently.
        np.testing.assert_allclose(measured, shipped.tensors[tensor], rtol=2e-3, atol=1e-6, err_msg=tensor)


@pytest.mark.data
@pytest.mark.slow
@each_model
@pytest.mark.parametrize(("engine", "unsigned"), [("openvino", True), ("onnxruntime", True), ("onnxruntime", False)])
def test_int8_keeps_the_accuracy_of_the_shipped_model(name: str, engine: str, unsigned: bool, ferplus: Path) -> None:
    """The signed graph is that of TensorRT, which does not run here."""
    ranges = read_ranges(ranges_file(name))
    model = typed_graph(checkpoint(name), "int8", ranges, unsigned=unsigned)
    score = scorer(name, engine, ferplus)(model)
    least = 98.5 if unsigned or name == "edge" else 98.0  # signed, the smaller model changes more labels
    assert score.drop <= 0.3 and score.agreement >= least, score
    proof = prove_precision(model, get_engine(engine).build(model.to_bytes(), BuildRequest()).operators)
    layers = chosen_layers(onnx_from_checkpoint(checkpoint(name)), ranges, unsigned=unsigned)
    chosen, total = sum(layer.macs for layer in layers), sum(layer.macs for layer in model.layers)
    assert proof.fallbacks == () and proof.macs["int8"] == round(chosen / total, 4)
    named = sum(layer.macs for layer in model.layers if layer.name in ranges.float_layers)
    assert proof.macs["int8"] + named / total > 0.96, "depthwise convolutions and attention stay in float"


@pytest.mark.data
@pytest.mark.slow
@each_model
def test_fp16_keeps_the_accuracy_of_the_shipped_model(name: str, ferplus: Path) -> None:
    """ONNX Runtime computes in float32, and rounds to float16 between operators."""
    score = scorer(name, "onnxruntime", ferplus)(typed_graph(checkpoint(name), "fp16", read_ranges(ranges_file(name))))
    assert score.drop <= 0.05 and score.agreement >= 99.9 and score.divergence <= 1e-5, score


@pytest.mark.data
@pytest.mark.slow
def test_int8_keeps_the_logits_of_the_authors_architecture(shared: Path, ferplus: Path) -> None:
    authors = release_checkpoint(shared)
    model = onnx_from_checkpoint(authors)
    ranges = measure(model, "golden", first_images(read_set(SET), ferplus, 32), "moving-average")
    quantized = typed_graph(authors, "int8", ranges)
    # The standard error of a median of 48 images is a fifth of the spread over images; of 256, a twelfth.
    batches = [batch for batch, _ in image_set(ferplus, FERPLUS.labels).limit(48).batches(16)]
    pairs = zip(logits(quantized, batches), logits(model, batches), strict=True)
    for actual, expected in pairs:
        cosine = (actual * expected).sum(axis=1) / np.linalg.norm(actual, axis=1) / np.linalg.norm(expected, axis=1)
        assert float(np.median(cosine)) >= 0.995


def logits(graph: TypedGraph, batches: list[Images]) -> tuple[Floats, npt.NDArray[np.float32]]:
    with get_engine("openvino").load(Artifact(graph.to_bytes(), None, 16), RunOptions()) as runner:
        parts = [runner.infer(batch) for batch in batches]
    text = [part.text_logits for part in parts if part.text_logits is not None]
    return np.concatenate([part.label_logits for part in parts]), np.concatenate(text)
