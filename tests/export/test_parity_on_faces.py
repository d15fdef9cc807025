"""fp32 deploy graphs of all presets against PyTorch on real validation images, and real TensorRT-RTX engines."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from fer_edge.calibration.graph import Graph
from fer_edge.calibration.qdq import quantize_graph
from fer_edge.calibration.ranges import Range, Ranges
from fer_edge.engines.available import get_engine
from fer_edge.engines.base import Artifact, BuildRequest, Precision, RunOptions
from fer_edge.evaluation.dataset import ImageSet, image_set
from fer_edge.evaluation.parity import GATES, compare
from fer_edge.export.onnx_graph import onnx_from_checkpoint
from fer_edge.export.precision import prove_precision
from fer_edge.labels import FERPLUS, RAFDB
from fer_edge.model.checkpoint import Checkpoint, load_checkpoint
from fer_edge.model.config import preset
from fer_edge.model.ferformer import FERFormer
from fer_edge.model.release import load_release
from fer_edge.model.runner import PyTorchRunner
from fer_edge.model.stem import IRBlock
from fer_edge.model.text import TextFeatures
from tests.faces import smooth_frame
from tests.tiny_model import checkpoint_of, settle

WEIGHTS = Path(__file__).parents[2] / "fer_edge" / "weights" / "edge.safetensors"
IMAGES = 256


def paper_checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    return checkpoint_of(settle(FERFormer(preset("paper", classes=len(FERPLUS)))))


def calm(checkpoint: Checkpoint) -> Checkpoint:
    """Residuals as small as training makes them: those of random weights add up beyond what float16 holds."""
    for block in checkpoint.model.stem.blocks:
        assert isinstance(block, IRBlock)
        block.norm3.weight.data *= 0.2
    return checkpoint


def smooth_images(folder: Path, count: int) -> ImageSet:
    paths = tuple(folder / f"{seed}.png" for seed in range(count))
    for seed, path in enumerate(paths):
        Image.fromarray(smooth_frame(seed)).save(path)
    return ImageSet(paths, None)


def release_checkpoint(shared: Path) -> Checkpoint:
    spec = spec_from_file_location("golden_weights", shared / "reference" / "golden" / "weights.py")
    assert spec is not None and spec.loader is not None
    golden: Any = module_from_spec(spec)
    spec.loader.exec_module(golden)
    features = TextFeatures(torch.from_numpy(golden.text_features()), RAFDB.words, (), "golden")
    return load_release({name: torch.from_numpy(value) for name, value in golden.state_dict().items()}, features)[0]


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", ["edge", "paper", "release"])
def test_fp32_parity_on_real_faces(name: str, ferplus: Path, shared: Path) -> None:
    if name == "edge":
        checkpoint = load_checkpoint(WEIGHTS)
    else:
        checkpoint = paper_checkpoint() if name == "paper" else release_checkpoint(shared)
    images = image_set(ferplus, FERPLUS.labels).limited(IMAGES)
    model = onnx_from_checkpoint(checkpoint)
    reference = PyTorchRunner(checkpoint)
    for engine in ("openvino", "onnxruntime"):
        with get_engine(engine).load(Artifact(model, None, 32), RunOptions()) as runner:
            report = compare(runner, reference, images)
        assert report, (engine, report.stages)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("name", ["edge", "paper"])
def test_tensorrt_rtx_builds_what_cpu_engines_pass_parity_on(
    name: str, precision: Precision, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed; it has wheels for x86-64 only")
    checkpoint = load_checkpoint(WEIGHTS) if name == "edge" else calm(paper_checkpoint())
    targets = ("sm86", "sm89", "sm120")
    model = onnx_from_checkpoint(checkpoint, "fp32" if precision == "fp32" else "fp16")
    if precision == "int8":
        # Where pairs stand does not depend on ranges, so ranges of nothing in particular will do. How close int8 comes
        # is told on real faces: test_int8_on_faces.
        tensors = {tensor: Range(-4.0, 4.0, 4.0) for tensor in Graph.parse(model).activations()}
        model = quantize_graph(model, Ranges("made up", "minmax", 1, {}, tensors))
    else:
        images, reference = smooth_images(tmp_path, 7), PyTorchRunner(checkpoint)
        for engine in ("openvino", "onnxruntime"):
            with get_engine(engine).load(Artifact(model, None, 8), RunOptions()) as runner:
                report = compare(runner, reference, images, gate=GATES[precision])
            assert report, (engine, report.stages)
    built = get_engine("tensorrt-rtx").build(model, BuildRequest(precision, targets))
    assert built.file is not None
    record_property("engine_mb", round(len(built.file) / 1e6, 1))
    assert len(built.file) > len(model) / 2
    assert built.targets == targets
    proof = prove_precision(model, built.operators)
    assert proof.fallen == () and proof.macs[precision] > 0.98
