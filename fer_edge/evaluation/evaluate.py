"""Evaluation of a model on a labelled data set, with an optional HTML report."""

from __future__ import annotations

import datetime
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fer_edge._files import as_path, file_sha256, make_folder
from fer_edge._require import require
from fer_edge.choices import LayoutName, RunnerName, Split
from fer_edge.data.sources import image_set
from fer_edge.errors import ConfigError, DataError
from fer_edge.evaluation.accuracy import AccuracyReport, Outputs, run_all, score
from fer_edge.evaluation.corruption_scores import KindScore, Robustness, measure_robustness
from fer_edge.evaluation.open_model import OpenedModel, open_model, open_reference
from fer_edge.progress import Progress, silent
from fer_edge.results import Result, Table, plain_data
from fer_edge.shipped import path_or_shipped
from fer_edge.walk import count_reasons

if TYPE_CHECKING:
    from fer_edge.evaluation.features import FeatureMap
    from fer_edge.evaluation.report import Origin
    from fer_edge.model.runner import PyTorchRunner

SHORT = 4  # characters of a column's label in the confusion matrix: eight full labels do not fit 80 columns


@dataclass(frozen=True)
class EvaluationResult(AccuracyReport, Result):
    """Accuracy of a model on a data set, and the model's identity."""

    model: Path
    engine: str
    precision: str
    robustness: Robustness | None  # None: not measured
    report: Path | None  # page of the HTML report
    left_out: dict[str, int]  # reason -> number of files that do not belong to the image set

    def tables(self) -> list[Table]:
        """Return the summary, the scores of each label, and the confusion matrix."""
        title = f"{self.model.name} on {self.engine} {self.precision}, {self.images} images"
        short = (label[:SHORT] for label in self.classes)
        unchanged = KindScore(self.accuracy, self.mean_class_accuracy, self.calibration_error)
        return [
            Table(title, ("", "%", "95 % interval"), tuple(self._summary())),
            Table(
                "labels",
                ("label", "images", "recall %", "95 %", "precision %", "F1 %"),
                tuple(
                    (
                        name,
                        label.images,
                        _or_dash(label.recall),
                        str(label.recall_interval or "-").removesuffix(" %"),
                        _or_dash(label.precision),
                        _or_dash(label.f1),
                    )
                    for name, label in self.classes.items()
                ),
            ),
            Table(
                "confusion matrix; rows: true label, columns: predicted label, in the same order",
                ("label", *short),
                tuple((name, *row) for name, row in zip(self.classes, self.confusion, strict=True)),
            ),
            *(self.robustness.tables(unchanged) if self.robustness is not None else ()),
        ]

    def notes(self) -> list[str]:
        """Return the calibration error, the number of missing images, and the path of the page."""
        left_out = sum(self.left_out.values())
        lines = [
            f"calibration error {self.calibration_error:.3f}; {len(self.skipped)} images skipped, {left_out} left out"
        ]
        return lines if self.report is None else [*lines, f"wrote {self.report}"]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, the model first."""
        first = ("model", "engine", "precision", "report")
        return plain_data({name: getattr(self, name) for name in first} | vars(self))

    def _summary(self) -> list[tuple[str, str, str]]:
        rows = [
            ("accuracy", f"{self.accuracy:.2f}", str(self.accuracy_interval)),
            ("balanced accuracy (UAR)", f"{self.mean_class_accuracy:.2f}", str(self.mean_class_interval)),
            ("macro F1", f"{self.mean_f1:.2f}", ""),
        ]
        if self.robustness is not None:
            mean = self.robustness
            rows.append(("accuracy, mean over corruptions", f"{mean.accuracy:.2f}", str(mean.accuracy_interval)))
        if self.heads_agree is None:
            return rows
        heads = [(f"accuracy of the {head} head", head_score.accuracy) for head, head_score in self.heads.items()]
        figures = [
            *(heads[:2]),  # without the mean of both
            ("images on which the heads agree", self.heads_agree),
            ("accuracy where the heads agree", self.accuracy_agreeing),
            ("accuracy where the heads disagree", self.accuracy_disagreeing),
        ]
        return rows + [(name, _or_dash(value, 2), "") for name, value in figures]


def evaluate(
    model: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    split: Split | None = None,
    layout: LayoutName = "auto",
    engine: RunnerName | None = None,
    device: int = 0,
    threads: int | None = None,
    allow_host_code: bool = False,
    count: int | None = None,
    skip_damaged: bool = False,
    corruptions: bool = False,
    report: str | os.PathLike[str] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
) -> EvaluationResult:
    """Measure the accuracy of a model on labelled images.

    Args:
        model: Bundle or checkpoint; "edge" for the shipped bundle.
        data: Data set, list file, or folder with one folder per label.
        split: Split of a data set that has splits; "valid" by default.
        layout: Layout of the data set; "auto" detects it.
        engine: Engine of the bundle; None selects the first that runs on this machine.
        device: Index of the GPU, for engines that run on one; 0 by default.
        threads: Number of CPU threads; None for the engine's default.
        allow_host_code: Whether native code inside a version-compatible TensorRT engine may run; only for bundles from
            a trusted source.
        count: Number of images, evenly spread over the data set; None for all of them.
        skip_damaged: Whether to skip unreadable images instead of stopping.
        corruptions: Whether to measure accuracy on damaged copies of the images too: one for each of
            57 corruptions.
        report: Folder for the HTML report; None for no report.
        checkpoint: Checkpoint that the bundle was built from, for the feature map of the report.
        progress: Progress display; none by default.

    Raises:
        ConfigError: A checkpoint without a report of a bundle, an engine that does not run this model, or a split of
            images without splits.
        DataError: Unlabelled images, or no readable image.
        FerEdgeError: A file cannot be read or written, or the engine failed.
    """
    model_path, data_path = path_or_shipped("bundle", as_path(model, "the model")), as_path(data, "the data set")
    folder = None if report is None else as_path(report, "the report folder")
    checkpoint_path = None
    if checkpoint is not None:
        checkpoint_path = path_or_shipped("checkpoint", as_path(checkpoint, "the checkpoint"))
        _check_checkpoint_use(folder, model_path.suffix == ".safetensors")
    opened = open_model(model_path, engine, threads, device, allow_host_code=allow_host_code)
    with opened.runner:
        if checkpoint_path is not None:
            _check_checkpoint_use(folder, opened.engine == "pytorch")
        images = image_set(data_path, opened.labels, opened.words, split, layout).limit(count)
        images.log_left_out()
        reference = None if folder is None else _prepare_report(folder, opened, checkpoint_path, threads)
        with progress("evaluating", len(images)) as advance:
            outputs = run_all(opened.runner, images, advance, skip_damaged=skip_damaged)
        robustness = measure_robustness(opened.runner, outputs, progress) if corruptions else None
        page = None
        if folder is not None:
            settings = {
                "split": split,
                "layout": None if layout == "auto" else layout,
                "engine": engine,
                "device": device or None,
                "threads": threads,
                "count": count,
                "corruptions": corruptions or None,
            }
            origin = _origin(model_path, data_path, settings)
            page = _write_report(folder, opened, outputs, robustness, reference, data_path, origin, progress)
    return EvaluationResult(
        **vars(score(outputs, opened.labels)),
        model=model_path,
        engine=opened.engine,
        precision=opened.precision,
        robustness=robustness,
        report=page,
        left_out=count_reasons(images.left_out),
    )


def _check_checkpoint_use(report: Path | None, model_is_checkpoint: bool) -> None:
    """Refuse a checkpoint that would have no effect."""
    if report is None:
        raise ConfigError("a checkpoint is used for the report of a bundle only; leave it out, or add a report folder")
    if model_is_checkpoint:
        raise ConfigError("a checkpoint is used for the report of a bundle only, and the model is a checkpoint itself")


def _origin(model: Path, data: Path, settings: Mapping[str, object]) -> Origin:
    """Return the equivalent command, the date and the model's hash."""
    from fer_edge.evaluation.report import Origin

    words = ["fer-edge", "evaluate", str(model), str(data)]
    for name, value in settings.items():
        if value is not None:
            words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return Origin(shlex.join(words), datetime.date.today().isoformat(), file_sha256(model))


def _prepare_report(
    folder: Path, opened: OpenedModel, checkpoint: Path | None, threads: int | None
) -> PyTorchRunner | None:
    """Check packages and folder before the long work; return the runner that computes features, if there is one."""
    for package in ("matplotlib", "sklearn", "jinja2"):
        require(package, "report", "a report")
    make_folder(folder)
    if opened.engine == "pytorch":
        return cast("PyTorchRunner", opened.runner)
    return None if checkpoint is None else open_reference(opened, checkpoint, threads)


def _write_report(
    folder: Path,
    opened: OpenedModel,
    outputs: Outputs,
    robustness: Robustness | None,
    reference: PyTorchRunner | None,
    data: Path,
    origin: Origin,
    progress: Progress,
) -> Path:
    from fer_edge.evaluation.features import MAX_POINTS, feature_map
    from fer_edge.evaluation.report import report_files, write_report

    features: FeatureMap | str = "a bundle does not compute them; name its checkpoint with --checkpoint"
    if reference is not None:
        try:
            with progress("features", min(MAX_POINTS, len(outputs.images))) as advance:
                features = feature_map(reference, outputs.images, advance)
        except DataError as error:
            features = str(error)
    with progress("drawing", 1) as advance:
        page = write_report(folder, report_files(opened, outputs, features, data, origin, robustness))
        advance(1)
    return page


def _or_dash(percent: float | None, digits: int = 1) -> str:
    return "-" if percent is None else f"{percent:.{digits}f}"
