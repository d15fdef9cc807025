"""Comparison of a bundle's graph with the fp32 graph of its checkpoint, tensor by tensor.

The comparison itself is in `evaluation.tensors`. This workflow is part of `export`, which makes the fp32 graph.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from fer_edge._files import as_path
from fer_edge._require import require
from fer_edge.bundle import MODEL, Bundle
from fer_edge.choices import TENSOR_ENGINE, EngineName, LayoutName, Split
from fer_edge.data.sources import image_set
from fer_edge.errors import ConfigError
from fer_edge.evaluation.tensors import THRESHOLDS, TensorReport, common_tensors, compare_graphs, plot_tensors
from fer_edge.graph.typed_graph import TypedGraph
from fer_edge.progress import Progress, silent
from fer_edge.shipped import path_or_shipped

IMAGES = 16  # default number of images; every tensor of each is in memory
BATCH = 8


def compare_tensors(
    bundle: str | os.PathLike[str],
    checkpoint: str | os.PathLike[str] | None,
    images: str | os.PathLike[str],
    *,
    reference_bundle: str | os.PathLike[str] | None = None,
    split: Split | None = None,
    layout: LayoutName = "auto",
    engine: EngineName | None = None,
    threshold: float | None = None,
    count: int = IMAGES,
    plot: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
) -> TensorReport:
    """Compare every tensor of a bundle's graph, on an engine, with the tensor of the same name in a reference graph.

    The reference runs on ONNX Runtime, without fusion.

    Args:
        bundle: Bundle to check; "edge" for the shipped one.
        checkpoint: Checkpoint whose fp32 graph is the reference; "edge" for the shipped one, None with a reference
            bundle.
        images: Data set, or folder of face images.
        reference_bundle: Bundle whose graph is the reference.
        split: Split of a data set that has splits; "valid" by default.
        layout: Layout of the data set; "auto" detects it.
        engine: Engine of the bundle; None selects its first.
        threshold: Smallest signal-to-error ratio of a tensor that has not diverged, in dB; None for the default of the
            bundle's precision: 80 for fp32, 40 for fp16, 12 for int8.
        count: Number of images, evenly spread over the data set; 16 by default.
        plot: Picture of the ratio along the network to write (.svg, .png or .pdf); None for no picture.
        progress: Progress display; none by default.

    Raises:
        ConfigError: Both or neither of checkpoint and reference bundle, or an engine without access to inner tensors.
        FerEdgeError: A file cannot be read or written, or an engine failed.
    """
    if (checkpoint is None) == (reference_bundle is None):
        raise ConfigError("expected one reference: a checkpoint or a reference bundle")
    opened = Bundle.open(path_or_shipped("bundle", as_path(bundle, "the bundle")))
    manifest, entry = opened.manifest, opened.entry(engine)
    if checkpoint is not None:
        reference = path_or_shipped("checkpoint", as_path(checkpoint, "the checkpoint"))
        expected = _fp32_graph(reference)
    else:
        reference = path_or_shipped("bundle", as_path(reference_bundle or "", "the reference bundle"))
        expected = TypedGraph.parse(Bundle.open(reference).read(MODEL))
    data = image_set(as_path(images, "the images"), manifest.labels, manifest.words, split, layout).limit(count)
    data.log_left_out()
    batches = [batch for batch, _ in data.batches(BATCH)]
    least = THRESHOLDS[manifest.precision] if threshold is None else threshold
    graph = TypedGraph.parse(opened.read(MODEL))
    with progress("tensors", len(common_tensors(expected, graph))) as advance:
        report = compare_graphs((entry.engine, graph), (TENSOR_ENGINE, expected), batches, least, advance)
    title = f"{opened.path.name} on {entry.engine} {manifest.precision} against {reference.name}, {len(data)} images"
    report = replace(report, title=title)
    if plot is not None:
        plot_tensors(report, as_path(plot, "the plot"))
    return report


def _fp32_graph(checkpoint: Path) -> TypedGraph:
    """Export a checkpoint as an fp32 graph."""
    for package in ("torch", "safetensors"):
        require(package, "export", "a checkpoint")
    from fer_edge.export.onnx_graph import onnx_from_checkpoint
    from fer_edge.model.checkpoint import load_checkpoint

    return onnx_from_checkpoint(load_checkpoint(checkpoint))
