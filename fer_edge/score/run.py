"""Scoring of many images and videos: the call."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import get_args

from fer_edge._files import as_path, make_folder
from fer_edge._lock import lock_folder
from fer_edge._require import require
from fer_edge.bundle import Bundle
from fer_edge.choices import Detail
from fer_edge.engines.registry import get_engine
from fer_edge.errors import ConfigError, shown
from fer_edge.images import MAX_PIXELS
from fer_edge.progress import Progress, silent
from fer_edge.results import Result, Table
from fer_edge.score.columns import EXTRA
from fer_edge.score.inputs import list_sources
from fer_edge.score.plan import Plan, Settings, open_plan
from fer_edge.score.pool import Outcome, WorkerSettings, score_shards
from fer_edge.score.shards import Damage, Summary, read_summary, remove_leftovers, write_damaged
from fer_edge.shipped import path_or_shipped
from fer_edge.signing import PublicKey
from fer_edge.walk import LeftOut
from fer_edge.walk import notes as notes_on

SHARD = 4096
MAX_SHARD = 1_000_000
MAX_WORKERS = 1024
ScoreShards = Callable[[WorkerSettings, Iterable[int], int | None, Callable[[int], None]], Iterator[Outcome]]


@dataclass(frozen=True)
class ScoreResult(Result):
    """Counts of a bulk scoring, of all runs into its folder.

    Attributes:
        folder: Folder of the results.
        shards: Number of shards of the plan.
        present: Number of shards that were there before this run.
        images: Images and frames that were scored.
        without_face: Those of them without a face.
        faces: Rows.
        damaged: Number of inputs without a result.
        failed: Reason by number of each shard that was left out.
        seconds: Time of this run.
        rate: Images per second of this run; 0 if all shards were there before.
        damaged_table: Path of the table of damaged inputs.
    """

    folder: Path
    shards: int
    present: int
    images: int
    without_face: int
    faces: int
    damaged: int
    failed: dict[int, str]
    seconds: float
    rate: float
    damaged_table: Path
    left_out: tuple[LeftOut, ...] = field(default=(), repr=False)

    @property
    def passed(self) -> bool:
        """True if every shard is written."""
        return not self.failed

    def tables(self) -> list[Table]:
        """Return a table of the counts."""
        title = f"{self.folder}: {self.shards - len(self.failed)} of {self.shards} shards"
        columns = ("images", "without face", "faces", "damaged", "images/s")
        rate = f"{self.rate:.1f}" if self.rate else "-"
        return [Table(title, columns, ((self.images, self.without_face, self.faces, self.damaged, rate),))]

    def notes(self) -> list[str]:
        """Return shards that were left out, the table of damaged inputs, and files that were not scored."""
        lines = [f"shard {shard} is left out: {error}" for shard, error in sorted(self.failed.items())]
        if lines:
            lines.append("the same command tries these shards again; fewer workers need less memory")
        if self.damaged:
            lines.append(f"damaged inputs: {self.damaged_table}")
        return [*lines, *notes_on(self.left_out)]


def score(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    bundle: str | os.PathLike[str] | None = None,
    signed_by: PublicKey | None = None,
    workers: int | None = None,
    shard: int = SHARD,
    ray: str | None = None,
    crop: bool = False,
    detail: Detail = "normal",
    column: str | None = None,
    root: str | os.PathLike[str] | None = None,
    max_pixels: int = MAX_PIXELS,
    engine: str | None = None,
    threads: int | None = 1,
    allow_host_code: bool = False,
    progress: Progress = silent,
) -> ScoreResult:
    """Score images and videos in bulk, into Parquet files with one row for each face.

    The plan of all shards is written into the folder first. Each shard is one file, which appears when it is complete;
    the same call goes on after any interruption, and scores only shards without a file. Worker processes import the
    module that calls this function, which therefore needs `if __name__ == "__main__":`.

    Args:
        sources: Folders, images, videos, uncompressed tar archives, Parquet files, and lists (.txt) of files.
        out: Folder of the results.
        bundle: Bundle; None or "edge": the shipped one.
        signed_by: Public key that must have signed the bundle, as for `Bundle.open`; None: the origin is not checked.
        workers: Number of worker processes; None: one for each usable core, or for each CPU of a Ray cluster but one.
        shard: Number of images of a shard, 4096 by default. A video is not divided.
        ray: Address of a Ray cluster; None: worker processes on this machine.
        crop: Whether each image is a face crop, in which no face is searched. False by default.
        detail: Size of the faces that are searched in images: "fast", "normal" by default, or "fine".
        column: Column of images in Parquet files: bytes, or paths; None: the only one that fits.
        root: Folder that the paths in Parquet files stay below; None: the folder of each file.
        max_pixels: Largest number of pixels of an image, 89478485 by default.
        engine: Engine of the bundle; None: the first that runs on this machine.
        threads: Number of CPU threads of each network in each worker, 1 by default; None: the engine's default.
        allow_host_code: Whether to run native code of a version-compatible TensorRT engine. False by default.
        progress: Progress display; none by default.

    Raises:
        ConfigError: Argument out of range, source that does not exist, or folder with the results of another model,
            other settings or other inputs.
        SignatureError: Signature that is missing, invalid, by another key, or of another file.
        BundleError: Bundle that cannot be used.
        EngineUnavailableError: Package that is not installed.
        EngineError: Engine that is not installed or failed.
        FerEdgeError: Folder that cannot be written or is in use, or full disk. Finished shards remain.
    """
    _check_number("workers", workers, MAX_WORKERS)
    _check_number("shard", shard, MAX_SHARD)
    _check_number("max_pixels", max_pixels, 1 << 40)
    if detail not in get_args(Detail):
        raise ConfigError(f"detail is {shown(detail)}; expected one of: {', '.join(get_args(Detail))}")
    for package in ("pyarrow", "av"):
        require(package, EXTRA, "scoring")
    paths = [sources] if isinstance(sources, (str, os.PathLike)) else list(sources)
    folder = as_path(out, "the output folder", ConfigError)
    model = path_or_shipped("bundle", "edge" if bundle is None else as_path(bundle, "the bundle")).absolute()
    listing = list_sources(
        [as_path(path, "the source", ConfigError) for path in paths],
        folder,
        column,
        None if root is None else as_path(root, "the root", ConfigError),
    )
    opened = Bundle.open(model, in_memory=True, signed_by=signed_by)
    settings = _settings(opened, engine, crop=crop, detail=detail, max_pixels=max_pixels, shard=shard)
    make_folder(folder)
    with lock_folder(folder):
        remove_leftovers(folder)
        plan = open_plan(folder, settings, listing.items)
        worker = WorkerSettings(folder.absolute(), model, threads, allow_host_code)
        return _run(plan, worker, workers, _scorer_of(ray), progress, listing.left_out)


def _check_number(name: str, value: int | None, most: int) -> None:
    if value is not None and (type(value) is not int or not 1 <= value <= most):
        raise ConfigError(f"{name} is {shown(value)}; expected a whole number from 1 to {most}")


def _settings(
    bundle: Bundle, engine: str | None, *, crop: bool, detail: Detail, max_pixels: int, shard: int
) -> Settings:
    """Return the settings of a plan, with the engine that all workers use."""

    def check(name: str) -> str:
        get_engine(name).check_runnable()
        return name

    chosen = bundle.use_first_runnable(engine, lambda entry: check(entry.engine))
    return Settings(
        str(bundle.sha256),
        bundle.manifest.name,
        chosen,
        tuple(bundle.manifest.labels),
        crop,
        detail,
        max_pixels,
        shard,
    )


def _scorer_of(ray: str | None) -> ScoreShards:
    if ray is None:
        return score_shards
    from fer_edge.score.cluster import score_on_cluster

    return partial(score_on_cluster, ray)


def _run(
    plan: Plan,
    worker: WorkerSettings,
    workers: int | None,
    score_all: ScoreShards,
    progress: Progress,
    left_out: tuple[LeftOut, ...],
) -> ScoreResult:
    """Score the shards without a file.

    Args:
        plan: Plan.
        worker: Settings of the workers.
        workers: Number of workers; None: the default.
        score_all: Function that scores shards.
        progress: Progress display.
        left_out: Files that are not scored.
    """
    summaries: dict[int, Summary] = {}
    for number in range(plan.count):
        summary = read_summary(worker.folder, number, plan.digest)
        if summary is not None:
            summaries[number] = summary
    missing = [number for number in range(plan.count) if number not in summaries]
    present, failed, scored = len(summaries), {}, 0
    weights = plan.weights
    started = time.monotonic()
    try:
        with progress("scoring", sum(weights[number] for number in missing)) as advance:
            for outcome in score_all(worker, missing, workers, advance) if missing else ():
                if outcome.summary is None:
                    first = next(plan.items(outcome.shard))
                    failed[outcome.shard] = f"{outcome.error}; it begins with {first.source} {first.name}".rstrip()
                else:
                    summaries[outcome.shard] = outcome.summary
                    scored += outcome.summary.images
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped after {len(summaries)} of {plan.count} shards; the same command does the others"
        ) from None
    seconds = time.monotonic() - started
    return _result(plan, worker.folder, summaries, failed, present, left_out, (seconds, scored))


def _result(
    plan: Plan,
    folder: Path,
    summaries: dict[int, Summary],
    failed: dict[int, str],
    present: int,
    left_out: tuple[LeftOut, ...],
    timing: tuple[float, int],
) -> ScoreResult:
    """Write the table of damaged inputs, and return the result.

    Args:
        plan: Plan.
        folder: Folder of the results.
        summaries: Summary by number of each finished shard.
        failed: Reason by number of each shard that was left out.
        present: Number of shards that were there before.
        left_out: Files that are not scored.
        timing: Seconds of this run, and images that it has scored.
    """
    ordered = [summaries[number] for number in sorted(summaries)]
    damaged: list[Damage] = [damage for summary in ordered for damage in summary.damaged]
    seconds, scored = timing
    return ScoreResult(
        folder=folder,
        shards=plan.count,
        present=present,
        images=sum(summary.images for summary in ordered),
        without_face=sum(summary.without_face for summary in ordered),
        faces=sum(summary.faces for summary in ordered),
        damaged=len(damaged),
        failed=failed,
        seconds=seconds,
        rate=scored / seconds if seconds else 0.0,
        damaged_table=write_damaged(folder, damaged),
        left_out=left_out,
    )
