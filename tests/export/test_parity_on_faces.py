"""fp32 deploy graphs of all presets against PyTorch on real validation images, and real TensorRT-RTX engines."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from PIL import Image

from fer_edge._files import sha256
from fer_edge.calibration.histograms import measure
from fer_edge.calibration.images import choose_images
from fer_edge.choices import FloatPrecision, Precision
from fer_edge.data.images import ImageSet
from fer_edge.data.layouts import read_split
from fer_edge.data.sources import image_set
from fer_edge.engines.base import Artifact, BuildRequest, Images, Prediction, Runner, RunOptions
from fer_edge.engines.registry import get_engine
from fer_edge.evaluation.parity import GATES, compare
from fer_edge.export.onnx_graph import onnx_from_checkpoint
from fer_edge.graph.precision import prove_precision, typed_precision
from fer_edge.graph.qdq import quantize_graph
from fer_edge.graph.ranges import read_ranges
from fer_edge.graph.typed_graph import TypedGraph
from fer_edge.labels import FERPLUS, RAFDB
from fer_edge.model.checkpoint import Checkpoint, load_checkpoint
from fer_edge.model.config import preset
from fer_edge.model.ferformer import FERFormer
from fer_edge.model.foreign import ForeignWeights
from fer_edge.model.release import load_release
from fer_edge.model.runner import PyTorchRunner
from fer_edge.model.stem import IRBlock
from fer_edge.model.text import TextFeatures, replace_text_features
from tests.shipped import ranges_file
from tests.synthetic import smooth_frame
from tests.tiny_model import checkpoint_of, settle

WEIGHTS = Path(__file__).parents[2] / "fer_edge" / "weights" / "edge.safetensors"
CPU = ("openvino", "onnxruntime")
# `edge` has trained weights, whose labels are compared on 256 real faces. Labels of random weights mean nothing, and
# values need fewer images: the largest error of `paper` on 128 faces, 7e-6 of the allowed 1e-4, was among 28 of them.
IMAGES = {"edge": 256, "paper": 28, "release": 28}
INT8_IMAGES = 50  # the fewest of which one may get another label: 98 % have to agree
CALIBRATION_IMAGES = 32  # the least that calibration accepts

needs_tensorrt_rtx = pytest.mark.skipif(
    find_spec("tensorrt_rtx") is None, reason="TensorRT-RTX is not installed; it has wheels for x86-64 only"
)


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


def preset_group(name: str) -> Any:
    """Return a parameter whose tests run in one process with the others of this preset, which use the same graphs."""
    return pytest.param(name, marks=pytest.mark.xdist_group(f"parity of {name}"))


class Graphs:
    """Checkpoints, their float graphs, and PyTorch's outputs for them, each made once."""

    def __init__(self, shared: Path) -> None:
        self._makers: dict[str, Callable[[], Checkpoint]] = {
            "edge": lambda: load_checkpoint(WEIGHTS),
            "paper": lambda: scale_down_residuals(paper_checkpoint()),
            "release": lambda: release_checkpoint(shared),
        }
        self.checkpoint = cache(lambda name: self._makers[name]())
        self.float = cache(lambda name, precision: onnx_from_checkpoint(self.checkpoint(name), precision))
        self.reference = cache(lambda name: CachedRunner(PyTorchRunner(self.checkpoint(name))))

    def check_parity(self, name: str, graph: TypedGraph, images: ImageSet, precision: Precision) -> None:
        """Compare a graph with PyTorch on both CPU engines."""
        for engine in CPU:
            with get_engine(engine).load(Artifact(graph.to_bytes(), None, 8), RunOptions()) as runner:
                report = compare(runner, self.reference(name), images, gate=GATES[precision])
            assert report, (engine, report.stages)


@pytest.fixture(scope="module")
def graphs(shared: Path) -> Graphs:
    return Graphs(shared)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", [preset_group(name) for name in IMAGES])
def test_fp32_parity_on_real_faces(name: str, graphs: Graphs, ferplus: Path) -> None:
    images = image_set(ferplus, FERPLUS.labels).limit(IMAGES[name])
    graphs.check_parity(name, graphs.float(name, "fp32"), images, "fp32")


def check_build(
    graph: TypedGraph,
    precision: Precision,
    record_property: Callable[[str, object], None],
    float_layers: tuple[str, ...] = (),
) -> None:
    targets = ("sm86", "sm89", "sm120")
    built = get_engine("tensorrt-rtx").build(graph.to_bytes(), BuildRequest(precision, targets))
    assert built.file is not None
    record_property("engine_mb", round(len(built.file) / 1e6, 1))
    assert len(built.file) > len(graph.to_bytes()) / 2
    assert built.targets == targets
    proof = prove_precision(graph, built.operators)
    typed = sum(layer.macs for layer in graph.layers if typed_precision(graph.nodes[layer.name]) == precision)
    assert proof.fallbacks == () and proof.macs[precision] == round(
        typed / sum(layer.macs for layer in graph.layers), 4
    )
    named = sum(layer.macs for layer in graph.layers if layer.name in float_layers)
    share = proof.macs[precision] + named / sum(layer.macs for layer in graph.layers)
    assert share > 0.96, "depthwise convolutions and attention stay in float"


@pytest.mark.slow
@needs_tensorrt_rtx
@pytest.mark.parametrize("name", [preset_group("edge"), preset_group("paper")])
def test_tensorrt_rtx_builds_the_fp32_graph(
    name: str, graphs: Graphs, record_property: Callable[[str, object], None]
) -> None:
    """Build the graph of `test_fp32_parity_on_real_faces`."""
    check_build(graphs.float(name, "fp32"), "fp32", record_property)


@pytest.mark.slow
@needs_tensorrt_rtx
@pytest.mark.parametrize("name", [preset_group("edge"), preset_group("paper")])
def test_tensorrt_rtx_builds_an_fp16_graph_that_passes_parity_on_cpus(
    name: str, graphs: Graphs, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    model = graphs.float(name, "fp16")
    graphs.check_parity(name, model, smooth_images(tmp_path, 7), "fp16")
    check_build(model, "fp16", record_property)


@pytest.mark.data
@pytest.mark.slow
@needs_tensorrt_rtx
@pytest.mark.parametrize("name", [preset_group("edge"), preset_group("paper")])
def test_tensorrt_rtx_builds_int8_that_passes_parity_on_cpus(
    name: str, graphs: Graphs, ferplus: Path, record_property: Callable[[str, object], None]
) -> None:
    """Measure ranges on real faces, and parity on others: with synthetic ranges of +-4, parity of `paper` fails."""
    images = choose_images(read_split(ferplus, "train"), ferplus, CALIBRATION_IMAGES)
    # Random weights give no outliers, so clipping would only lose accuracy.
    ranges = measure(graphs.float(name, "fp32"), "of no file", images, "minmax")
    float_layers = read_ranges(ranges_file(name)).float_layers if name == "edge" else ()
    ranges = ranges.with_float_layers(float_layers)
    faces = image_set(ferplus, FERPLUS.labels).limit(INT8_IMAGES)
    precisions = get_args(FloatPrecision) if name == "edge" else ("fp16",)  # that of RTX; each takes `paper` a minute
    for float_precision in precisions:
        model = quantize_graph(graphs.float(name, float_precision), ranges)
        graphs.check_parity(name, model, faces, "int8")
        check_build(model, "int8", record_property, float_layers)
