"""Analysis of a video: the expressions of every person, as rows, as an annotated copy and as a page."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fer_edge._files import as_path, atomic_path, check_output, make_folder
from fer_edge._require import require
from fer_edge.analysis.annotate import Mark
from fer_edge.analysis.annotated_video import annotated_video
from fer_edge.analysis.people import People
from fer_edge.bundle import Bundle
from fer_edge.document import make_document
from fer_edge.errors import ConfigError, VideoError
from fer_edge.expression import UNSURE
from fer_edge.faces.tracker import ExpressionTracker
from fer_edge.html import theme
from fer_edge.progress import Progress, silent
from fer_edge.results import Result, Table
from fer_edge.rows import WriteRows, rows_of, write_csv, write_parquet
from fer_edge.shipped import path_or_shipped
from fer_edge.signing import PublicKey
from fer_edge.video import Source, VideoFrame, open_source
from fer_edge.walk import SUFFIXES

if TYPE_CHECKING:
    from fer_edge.faces.tracker import TrackedFace

ROWS, PARQUET, VIDEO, PAGE = "faces.csv", "faces.parquet", "annotated.mp4", "report.html"
MAX_FACES = 16  # faces of a frame that are recognised in every frame
DETECT_EVERY = 5  # frames; new faces are found sooner than live, where each search takes time
STOPPED = "interrupted"
ANIMATED = {".avif", ".gif", ".webp"}  # suffixes of images that may be videos


@dataclass(frozen=True)
class PersonSummary:
    """Expressions of one person in a video."""

    person: int
    start: float  # seconds
    end: float
    frames: int  # in which the person's face is recognised
    shares: dict[str, float]  # share of these frames by label, and that of uncertain ones as "unsure"; 0 to 1

    @property
    def main(self) -> str:
        """Most frequent label."""
        return max(self.shares, key=lambda label: self.shares[label])


@dataclass(frozen=True)
class AnalysisResult(Result):
    """Expressions of every person in a video, and the files with all of them."""

    source: str  # name of the video
    model: str  # name of the bundle in its manifest
    frames: int
    seconds: float  # time of the last frame
    damaged: int  # frames that could not be decoded
    frames_with_face: int
    rows: int
    people: tuple[PersonSummary, ...] = field(repr=False)
    files: tuple[Path, ...]
    stopped: str = ""  # reason why the video was not analysed to its end

    def tables(self) -> list[Table]:
        """Return a table with one row per person."""
        title = f"{self.source}: {self.frames} frames, {clock(self.seconds)}, people: {len(self.people)}"
        rows = [
            (
                person.person,
                clock(person.start),
                clock(person.end),
                person.frames,
                person.main,
                f"{100 * person.shares[person.main]:.0f}",
                f"{100 * person.shares[UNSURE]:.0f}",
            )
            for person in self.people
        ]
        return [Table(title, ("person", "from", "to", "frames", "mostly", "%", "unsure %"), tuple(rows))]

    def notes(self) -> list[str]:
        """Return counts of damaged frames, and the files."""
        lines = [f"{self.damaged} frames could not be decoded"] if self.damaged else []
        return [*lines, f"wrote {', '.join(map(str, self.files))}"]


def analyse(
    source: str | int | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    bundle: str | os.PathLike[str] | None = None,
    signed_by: PublicKey | None = None,
    video: bool = True,
    parquet: bool = False,
    fps: float | None = None,
    engine: str | None = None,
    threads: int | None = 1,
    progress: Progress = silent,
) -> AnalysisResult:
    """Follow the faces of a video, and write the expressions of every person.

    The folder gets `faces.csv` with a row per person and frame, `report.html` with a timeline per person, and
    `annotated.mp4`, a copy without sound. The result is the same on every run. After Ctrl-C, the files describe the
    part that was analysed.

    Args:
        source: Video file, folder of images in the order of their names, or another source of `open_source` that ends.
        out: Folder to write into.
        bundle: Bundle; None or "edge": the shipped one.
        signed_by: Public key that must have signed the bundle, as for `Bundle.open`; None: the origin is not checked.
        video: Whether to write the annotated copy. True by default.
        parquet: Whether to write the rows as Parquet too. False by default.
        fps: Images per second of a folder; None: 25.
        engine: Engine of the bundle; None: the first that runs on this machine.
        threads: Number of CPU threads of each network, 1 by default; None: the engine's default.
        progress: Progress display; none by default.

    Raises:
        ConfigError: Argument out of range, folder that is the source, or face networks that are not installed.
        EngineUnavailableError: Package that is not installed.
        VideoError: Source that is missing, cannot be read, or has no frames.
        FerEdgeError: File that cannot be written, or engine that failed. Nothing is written then.
    """
    folder = as_path(out, "the output folder")
    _check_packages(video, parquet)
    _check_paths(folder, source)
    path = path_or_shipped("bundle", "edge" if bundle is None else as_path(bundle, "the bundle"))
    model = Bundle.open(path, signed_by=signed_by)
    with ExitStack() as stack:
        tracker = stack.enter_context(
            ExpressionTracker.open(
                model,
                engine=engine,
                threads=threads,
                faces=min(MAX_FACES, model.manifest.max_batch),
                detect_every=DETECT_EVERY,
                background=False,
            )
        )
        frames = stack.enter_context(open_source(source, fps=fps))
        make_folder(folder)
        files = {PAGE: folder / PAGE, ROWS: folder / ROWS}
        files |= {PARQUET: folder / PARQUET} if parquet else {}
        files |= {VIDEO: folder / VIDEO} if video else {}
        result = _write_files(_Analysis(frames, tracker, model.manifest.name), files, progress)
    for name in {PARQUET, VIDEO} - files.keys():  # of an earlier run
        (folder / name).unlink(missing_ok=True)
    return result


class _Analysis:
    """Counts of an analysis, and its people.

    Args:
        source: Frames.
        tracker: Open tracker.
        model: Name of the bundle.
    """

    def __init__(self, source: Source, tracker: ExpressionTracker, model: str) -> None:
        self.source, self.model = source, model
        self.labels = tracker.labels
        self.people = People(tracker.labels)
        self.stopped = ""
        self.seconds = 0.0
        self.frames = self.rows = 0
        self._frames_with_face = 0
        self._tracker = tracker

    def run(self) -> Iterator[tuple[VideoFrame, list[TrackedFace]]]:
        """Yield each frame with its faces; the source may fail after the first frame."""
        try:
            for frame in self.source:
                faces = self._tracker.update(frame.image, frame.time)
                fresh = [face for face in faces if face.fresh]
                for face in fresh:
                    self.people.add(frame.image, frame.time, face)
                self.seconds = frame.time
                self.frames += 1
                self.rows += len(faces)
                self._frames_with_face += bool(fresh)
                yield frame, faces
        except VideoError as error:
            if not self.frames:
                raise
            self.stopped = str(error)
        if not self.frames:
            raise VideoError(f"{self.source.title} has no frame that can be decoded; expected a video")

    def result(self, files: Sequence[Path]) -> AnalysisResult:
        """Return the result.

        Args:
            files: Files that were written.
        """
        people = [
            PersonSummary(person.track_id, person.start, person.end, person.frames, person.shares(self.labels))
            for person in sorted(self.people.by_length(), key=lambda person: person.track_id)
        ]
        return AnalysisResult(
            source=self.source.title,
            model=self.model,
            frames=self.frames,
            seconds=self.seconds,
            damaged=self.source.state.damaged,
            frames_with_face=self._frames_with_face,
            rows=self.rows,
            people=tuple(people),
            files=tuple(files),
            stopped=self.stopped,
        )


def _write_files(analysis: _Analysis, files: Mapping[str, Path], progress: Progress) -> AnalysisResult:
    """Run an analysis, and write all files, or none of them if one cannot be written.

    Args:
        analysis: The analysis.
        files: Path by name; those of the rows and the page, and perhaps the others.
        progress: Progress display.
    """
    from fer_edge.analysis.page import page_of_analysis

    colors = theme.colors_of(analysis.labels)
    with ExitStack() as stack:
        page = stack.enter_context(atomic_path(files[PAGE]))
        writers = _open_rows(stack, files, analysis.labels)
        copy = stack.enter_context(annotated_video(files[VIDEO])) if VIDEO in files else None
        try:
            with progress("analysing", analysis.source.length or 0) as advance:
                for frame, faces in analysis.run():
                    people = [face.to_dict() for face in faces]
                    rows = rows_of(make_document(analysis.source.title, people, frame=frame.index, time=frame.time))
                    for write in writers:
                        write(rows)
                    if copy is not None:
                        copy.write(frame.image, frame.time, [_mark(face, colors) for face in faces])
                    advance(1)
        except KeyboardInterrupt:
            if not analysis.frames:
                raise
            analysis.stopped = STOPPED
        result = analysis.result([*files.values()])
        page.write_bytes(page_of_analysis(result, analysis.people))
    return result


def _open_rows(stack: ExitStack, files: Mapping[str, Path], labels: Sequence[str]) -> list[WriteRows]:
    """Open the files of rows until the stack ends, and return their functions."""
    writers = [stack.enter_context(write_csv(stack.enter_context(atomic_path(files[ROWS])), labels))]
    if PARQUET in files:
        path = stack.enter_context(atomic_path(files[PARQUET]))
        writers.append(stack.enter_context(write_parquet(path, labels, "analyse")))
    return writers


def _mark(face: TrackedFace, colors: Mapping[str, str]) -> Mark:
    expression = face.expression
    if not face.fresh:
        return Mark(face.face.box, f"{face.track_id}", theme.UNSURE)
    if not expression.certain:
        return Mark(face.face.box, f"{face.track_id} {UNSURE}", theme.UNSURE)
    return Mark(face.face.box, f"{face.track_id} {expression.label} {expression.score:.2f}", colors[expression.label])


def _check_packages(video: bool, parquet: bool) -> None:
    """Import optional packages before the long work.

    Raises:
        EngineUnavailableError: Package that is not installed.
    """
    require("jinja2", "analyse", "the page")
    if video:
        require("av", "analyse", "the annotated copy")
    if parquet:
        require("pyarrow", "analyse", "Parquet")


def _check_paths(folder: Path, source: str | int | os.PathLike[str]) -> None:
    """Refuse outputs that would replace the source, and an image as the source.

    Raises:
        ConfigError: Folder or file that is the source, or image file.
    """
    if isinstance(source, int):
        return
    path = as_path(source, "the source", ConfigError)
    if path.suffix.lower() in SUFFIXES - ANIMATED and path.is_file():
        raise ConfigError(f"{path} is an image; expected a video or a folder of images: use fer-edge predict")
    for output in (folder, folder / VIDEO):
        check_output(output, path)


def clock(seconds: float) -> str:
    """Return a time as minutes, seconds and tenths: `1:05.3`; with hours from one hour on."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    text = f"{minutes:02}:{rest / 10:04.1f}" if hours else f"{minutes}:{rest / 10:04.1f}"
    return f"{hours}:{text}" if hours else text
