"""Calibration of a checkpoint: export of its float graph, then the steps of `fer_edge.calibration.workflow`.

Imports PyTorch only inside functions: wrong arguments are refused before.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from fer_edge._files import as_path, file_sha256
from fer_edge._require import require
from fer_edge.calibration.request import CalibrationRequest
from fer_edge.choices import CalibrationMethod, EngineName, LayerKind, LayoutName, Split
from fer_edge.progress import Progress, silent
from fer_edge.shipped import Kind, path_or_shipped

if TYPE_CHECKING:
    from fer_edge.calibration.workflow import CalibrationResult


def calibrate(
    checkpoint: str | PathLike[str],
    data: str | PathLike[str],
    *,
    out: str | PathLike[str] | None = None,
    calibration_set: str | PathLike[str] | None = None,
    count: int | None = None,
    seed: int | None = None,
    method: CalibrationMethod = "moving-average",
    layer_kinds: Sequence[LayerKind] = ("conv", "linear"),
    float_layers: Sequence[str] = (),
    layout: LayoutName = "auto",
    max_drop: float | None = None,
    split: Split | None = None,
    eval_count: int | None = None,
    engine: EngineName | None = None,
    device: int | None = None,
    threads: int | None = None,
    state: str | PathLike[str] | None = None,
    plot: str | PathLike[str] | None = None,
    progress: Progress = silent,
) -> CalibrationResult:
    """Measure activation ranges of a checkpoint on real images, for int8 and fp16.

    With `max_drop`, search for the fewest layers that have to stay in float. Files are written together at the end,
    except for `state`.

    Args:
        checkpoint: Checkpoint (`.safetensors`), or "edge", the shipped one.
        data: Data set; images are chosen from its training split.
        out: Ranges file to write (`.json`); by default the ranges are only returned.
        calibration_set: File of the calibration set (`.json`), or "ferplus-512", the shipped one. An existing file is
            read; otherwise a set is chosen and written.
        count: Number of images to choose, 512 by default.
        seed: Seed for choosing the images, 0 by default.
        method: Method that chooses ranges from activations.
        layer_kinds: Kinds of layers to quantise.
        float_layers: Names of layers of these kinds that stay in float, besides those that a search marks.
        layout: Layout of the data set; "auto" detects all but "rafdb-original".
        max_drop: Largest drop of accuracy, in points; None: no search.
        split: Split that accuracy is measured on, valid by default.
        eval_count: Number of images that accuracy is measured on, evenly spread; all by default.
        engine: Engine that accuracy is measured on, openvino by default.
        device: Index of the GPU, for engines that run on one; 0 by default.
        threads: Number of CPU threads; the engine's choice by default.
        state: File of the search's measurements, from which it resumes; by default `out` with the suffix
            `.search.json`.
        plot: Plot of the search to write (`.svg`, `.png` or `.pdf`).
        progress: Progress of each step, not shown by default.

    Raises:
        ConfigError: Invalid argument, or one without effect.
        DataError: Missing or unfit images, or state file of another search.
        EngineError: Budget that no choice of float layers meets.
        EngineUnavailableError: PyTorch or the engine is not installed.
        NonFiniteError: NaN or infinity in the model's activations or outputs.
    """
    target = _optional(out, "the output")
    state_file = _optional(state, "the state")
    if state_file is None and max_drop is not None and target is not None:
        state_file = target.with_suffix(".search.json")
    request = CalibrationRequest(
        checkpoint=path_or_shipped("checkpoint", as_path(checkpoint, "the checkpoint")),
        data=as_path(data, "the data set"),
        out=target,
        calibration_set=_optional(calibration_set, "the calibration set", "calibration set"),
        count=count,
        seed=seed,
        method=method,
        layer_kinds=tuple(layer_kinds),
        float_layers=tuple(float_layers),
        layout=layout,
        max_drop=max_drop,
        split=split,
        eval_count=eval_count,
        engine=engine,
        device=device,
        threads=threads,
        state=state_file,
        plot=_optional(plot, "the plot"),
    )
    for package in ("torch", "safetensors", "onnx", "onnx_ir", "onnxscript"):
        require(package, "export", "calibrating")
    if request.plot is not None:
        require("matplotlib", "report", "plotting")
    from fer_edge.calibration.workflow import FloatModel, calibrate_graph, open_images
    from fer_edge.export.onnx_graph import onnx_from_checkpoint
    from fer_edge.model.checkpoint import load_checkpoint

    loaded = load_checkpoint(request.checkpoint)
    images = open_images(request, progress)
    with progress("exporting", 1) as advance:
        graph = onnx_from_checkpoint(loaded)
        advance(1)
    model = FloatModel(graph, file_sha256(request.checkpoint), loaded.info.labels, loaded.info.words)
    return calibrate_graph(model, images, request, progress)


def _optional(path: str | PathLike[str] | None, what: str, kind: Kind | None = None) -> Path | None:
    """Convert an optional path, or the name of a shipped file of that kind."""
    if path is None:
        return None
    converted = as_path(path, what)
    return converted if kind is None else path_or_shipped(kind, converted)
