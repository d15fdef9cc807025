"""fp32 deploy graphs of all presets against PyTorch on real validation images, and real TensorRT-RTX engines."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from PIL import Image

from fer_edge._files import sha256
from fer_edge.calibration.images import choose_images
from fer_edge.calibration.qdq import quantize_graph
from fer_edge.calibration.ranges import measure
from fer_edge.choices import FloatPrecision, Precision
from fer_edge.data.layouts import read_split
from fer_edge.engines.base import Artifact, BuildRequest, Images, Prediction, Runner, RunOptions
from fer_edge.engines.registry import get_engine
from fer_edge.evaluation.dataset import ImageSet, image_set
from fer_edge.evaluation.parity import GATES, compare
from fer_edge.export.onnx_graph import onnx_from_checkpoint
from fer_edge.export.precision import prove_precision
from fer_edge.labels import FERPLUS, RAFDB
from fer_edge.model.checkpoint import Checkpoint, load_checkpoint
from fer_edge.model.config import preset
from fer_edge.model.ferformer import FERFormer
from fer_edge.model.foreign import ForeignWeights
from fer_edge.model.release import load_release
from fer_edge.model.runner import PyTorchRunner
from fer_edge.model.stem import IRBlock
from fer_edge.model.text import TextFeatures, replace_text_features
from tests.synthetic import smooth_frame
from tests.tiny_model import checkpoint_of, settle

WEIGHTS = Path(__file__).parents[2] / "fer_edge" / "weights" / "edge.safetensors"
CPU = ("openvino", "onnxruntime")
IMAGES = 256
CALIBRATION_IMAGES = 64


def paper_checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    return checkpoint_of(settle(FERFormer(preset("paper", classes=len(FERPLUS)))))


def scale_down_residuals(checkpoint: Checkpoint) -> Checkpoint:
    """Scale residuals down to the size of trained ones: those of random weights add up beyond float16's range."""
    for block in checkpoint.model.stem.blocks:
        assert isinstance(block, IRBlock)
        block.norm3.weight.data *= 0.2
    return checkpoint


def smooth_images(folder: Path, count: int) -> ImageSet:
    paths = tuple(folder / f"{seed}.png" for seed in range(count))
    for seed, path in enumerate(paths):
        Image.fromarray(smooth_frame(seed)).save(path)
    return ImageSet(paths, None)


class CachedRunner(Runner):
    """Runner that runs each batch once, for a slow reference that several engines are compared with."""

    def __init__(self, runner: Runner) -> None:
        super().__init__(runner.max_batch)
        self._runner = runner
        self._predictions: dict[str, Prediction] = {}

    def _infer(self, images: Images) -> Prediction:
        batch = f"{images.shape} {sha256(images.data)}"
        if batch not in self._predictions:
            self._predictions[batch] = self._runner.infer(images)
        return self._predictions[batch]


def release_checkpoint(shared: Path) -> Checkpoint:
    spec = spec_from_file_location("golden_weights", shared / "reference" / "golden" / "weights.py")
    assert spec is not None and spec.loader is not None
    golden: Any = module_from_spec(spec)
    spec.loader.exec_module(golden)
    features = TextFeatures(torch.from_numpy(golden.text_features()), RAFDB.words, (), "golden")
    tensors = {name: torch.from_numpy(value) for name, value in golden.state_dict().items()}
    return replace_text_features(load_release(ForeignWeights("golden", tensors))[0], features)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", ["edge", "paper", "release"])
def test_fp32_parity_on_real_faces(name: str, ferplus: Path, shared: Path) -> None:
    if name == "edge":
        checkpoint = load_checkpoint(WEIGHTS)
    else:
        checkpoint = paper_checkpoint() if name == "paper" else release_checkpoint(shared)
    images = image_set(ferplus, FERPLUS.labels).limit(IMAGES)
    model = onnx_from_checkpoint(checkpoint)
    reference = CachedRunner(PyTorchRunner(checkpoint))
    for engine in ("openvino", "onnxruntime"):
        with get_engine(engine).load(Artifact(model, None, 32), RunOptions()) as runner:
            report = compare(runner, reference, images)
        assert report, (engine, report.stages)


class Graphs:
    """Checkpoints and their float graphs, each exported once."""

    def __init__(self) -> None:
        self.checkpoint = cache(
            lambda name: load_checkpoint(WEIGHTS) if name == "edge" else scale_down_residuals(paper_checkpoint())
        )
        self.float = cache(lambda name, precision: onnx_from_checkpoint(self.checkpoint(name), precision))


@pytest.fixture(scope="module")
def graphs() -> Graphs:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed; it has wheels for x86-64 only")
    return Graphs()


def check_cpu_engines(model: bytes, checkpoint: Checkpoint, images: ImageSet, precision: Precision) -> None:
    reference = CachedRunner(PyTorchRunner(checkpoint))
    for engine in CPU:
        with get_engine(engine).load(Artifact(model, None, 8), RunOptions()) as runner:
            report = compare(runner, reference, images, gate=GATES[precision])
        assert report, (engine, report.stages)


def check_build(model: bytes, precision: Precision, record_property: Callable[[str, object], None]) -> None:
    targets = ("sm86", "sm89", "sm120")
    built = get_engine("tensorrt-rtx").build(model, BuildRequest(precision, targets))
    assert built.file is not None
    record_property("engine_mb", round(len(built.file) / 1e6, 1))
    assert len(built.file) > len(model) / 2
    assert built.targets == targets
    proof = prove_precision(model, built.operators)
    assert proof.fallbacks == () and proof.macs[precision] > 0.98


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", ["edge", "paper"])
def test_tensorrt_rtx_builds_graphs_that_pass_parity_on_cpus(
    name: str, precision: Precision, graphs: Graphs, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    model = graphs.float(name, precision)
    check_cpu_engines(model, graphs.checkpoint(name), smooth_images(tmp_path, 7), precision)
    check_build(model, precision, record_property)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", ["edge", "paper"])
def test_tensorrt_rtx_builds_int8_that_passes_parity_on_cpus(
    name: str, graphs: Graphs, ferplus: Path, record_property: Callable[[str, object], None]
) -> None:
    """Measure ranges on real faces, and parity on others: with synthetic ranges of +-4, parity of `paper` fails."""
    images = choose_images(read_split(ferplus, "train"), ferplus, CALIBRATION_IMAGES).set.open(ferplus)
    # Random weights give no outliers, so clipping would only lose accuracy.
    ranges = measure(graphs.float(name, "fp32"), "of no file", images, "minmax")
    faces = image_set(ferplus, FERPLUS.labels).limit(
        64
    )  # with fewer images, one different top-1 label would exceed the limit
    for float_precision in get_args(FloatPrecision):
        model = quantize_graph(graphs.float(name, float_precision), ranges)
        check_cpu_engines(model, graphs.checkpoint(name), faces, "int8")
        check_build(model, "int8", record_property)
