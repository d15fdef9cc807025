"""`fer_edge.analyse`: rows, annotated copy and page of a clip with one face."""

from __future__ import annotations

import csv
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pyarrow.parquet
import pytest
import skimage.data
from PIL import Image

import fer_edge
from fer_edge.analysis.analyse import AnalysisResult, clock
from fer_edge.circumplex import circumplex
from fer_edge.errors import ConfigError, EngineUnavailableError, FerEdgeError, VideoError
from fer_edge.labels import FERPLUS
from fer_edge.rows import columns
from tests import command
from tests.browser import COLOR_SCHEMES, show
from tests.video.clips import grey_frames, write_clip

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FRAMES = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a clip of a happy face that moves to the right."""
    folder = tmp_path_factory.mktemp("analysis")
    face = skimage.data.astronaut()[:256, 60:316]
    write_clip(folder / "clip.mp4", [np.roll(face, 2 * index, axis=1)[:, :254] for index in range(FRAMES)])
    return folder


def analyse(source: Path, out: Path, **options: Any) -> AnalysisResult:
    return fer_edge.analyse(source, out, bundle="edge", engine="onnxruntime", **options)


@pytest.fixture(scope="module")
def result(folder: Path, networks: None) -> AnalysisResult:
    return analyse(folder / "clip.mp4", folder / "out", parquet=True)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [*csv.DictReader(file)]


def test_rows_have_every_frame_of_the_person(result: AnalysisResult, folder: Path) -> None:
    rows = rows_of(folder / "out" / "faces.csv")
    assert [*rows[0]] == columns(FERPLUS.labels)
    assert [(row["frame"], row["time"], row["person"]) for row in rows] == [
        (str(index), str(round(index / 25, 3)), "1") for index in range(FRAMES)
    ]
    assert float(rows[-1]["x"]) - float(rows[0]["x"]) == pytest.approx(2 * (FRAMES - 1), abs=3)
    for row in rows:
        scores = {label: float(row[f"p_{label}"]) for label in FERPLUS.labels}
        assert sum(scores.values()) == pytest.approx(1, abs=1e-4) and scores[row["label"]] == float(row["score"])
        assert (float(row["valence"]), float(row["arousal"])) == pytest.approx(circumplex(scores), abs=1e-4)
    table = pyarrow.parquet.read_table(folder / "out" / "faces.parquet").to_pylist()
    assert [
        {name: str(value) for name, value in row.items() if name in ("time", "label", "fresh")} for row in table
    ] == [{name: row[name] for name in ("time", "label", "fresh")} for row in rows]
    assert np.allclose([row["p_neutral"] for row in table], [float(row["p_neutral"]) for row in rows])


def test_result_describes_people_and_files(result: AnalysisResult, folder: Path) -> None:
    assert (result.source, result.frames, result.rows, result.frames_with_face) == ("clip.mp4", FRAMES, FRAMES, FRAMES)
    (person,) = result.people
    assert (person.person, person.start, person.frames) == (1, 0, FRAMES)
    assert person.end == result.seconds == pytest.approx(0.44)
    assert sum(person.shares.values()) == pytest.approx(1) and set(person.shares) == {*FERPLUS.labels, "unsure"}
    assert "clip.mp4: 12 frames, 0:00.4, people: 1" in str(result)
    assert {path.name for path in result.files} == {path.name for path in (folder / "out").iterdir()}
    assert result.to_dict()["people"][0]["shares"] == person.shares


def test_copy_has_all_frames_with_boxes(result: AnalysisResult, folder: Path) -> None:
    with av.open(str(folder / "out" / "annotated.mp4")) as copy, av.open(str(folder / "clip.mp4")) as clip:
        assert [stream.type for stream in copy.streams] == ["video"]
        frames, originals = list(copy.decode(video=0)), list(clip.decode(video=0))
    assert [frame.time for frame in frames] == pytest.approx([frame.time for frame in originals])
    assert (frames[0].width, frames[0].height) == (254, 256)
    row = rows_of(folder / "out" / "faces.csv")[-1]
    left, middle = round(float(row["x"])), round(float(row["y"]) + float(row["height"]) / 2)
    changes = np.abs(frames[-1].to_ndarray(format="rgb24").astype(int) - originals[-1].to_ndarray(format="rgb24"))
    assert changes[middle, left : left + 3].max() > 60  # the line of the box
    assert changes[-10:].max() < 60


def test_second_run_gives_the_same_rows(result: AnalysisResult, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "annotated.mp4").write_bytes(b"of an earlier run")
    arguments = ("--bundle", "edge", "--engine", "onnxruntime", "--no-video")
    again = command.fer_edge("analyse", folder / "clip.mp4", "-o", tmp_path / "out", *arguments)
    assert again.returncode == 0, again.stderr
    assert f"wrote {tmp_path / 'out' / 'report.html'}, {tmp_path / 'out' / 'faces.csv'}" in again.stdout
    assert (tmp_path / "out" / "faces.csv").read_bytes() == (folder / "out" / "faces.csv").read_bytes()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"faces.csv", "report.html"}


def test_page_in_a_browser(result: AnalysisResult, folder: Path, browser: Browser) -> None:
    for scheme in COLOR_SCHEMES:
        shown = show(browser, folder / "out" / "report.html", 390, scheme)
        assert (shown.broken, shown.complaints, shown.requests) == ([], [], [])
        assert shown.scroll_width <= 390
    assert shown.images == ["Person 1, happiness"]
    assert "Expressions in clip.mp4" in shown.text and "Person 1" in shown.text


@contextmanager
def interrupt(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Interrupt the work after the fifth item."""
    assert (title, total) == ("analysing", FRAMES)
    counts: list[int] = []

    def advance(count: int) -> None:
        counts.append(count)
        if len(counts) == 5:
            raise KeyboardInterrupt

    yield advance


@pytest.mark.usefixtures("networks")
def test_interrupt_keeps_what_was_analysed(folder: Path, tmp_path: Path) -> None:
    result = analyse(folder / "clip.mp4", tmp_path / "out", progress=interrupt)
    assert (result.stopped, result.frames) == ("interrupted", 5)
    assert len(rows_of(tmp_path / "out" / "faces.csv")) == 5
    assert "Not analysed to the end" in (tmp_path / "out" / "report.html").read_text()
    with av.open(str(tmp_path / "out" / "annotated.mp4")) as copy:
        assert len(list(copy.decode(video=0))) == 5


@pytest.mark.usefixtures("networks")
@pytest.mark.parametrize("limit", [64, 2048])
def test_full_disk_leaves_nothing(limit: int, folder: Path, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))  # a file may not grow beyond it
    try:
        with pytest.raises(FerEdgeError, match=f"cannot write {tmp_path / 'out'}.*nothing was changed"):
            analyse(folder / "clip.mp4", tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [*(tmp_path / "out").iterdir()]


@pytest.mark.usefixtures("networks")
def test_images_of_several_sizes_and_without_a_face(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for index, size in enumerate([(64, 48), (2400, 1600), (33, 99)]):
        Image.linear_gradient("L").resize(size).save(tmp_path / "images" / f"{index}.png")
    result = analyse(tmp_path / "images", tmp_path / "out", fps=2)
    assert (result.frames, result.seconds, result.people) == (3, 1.0, ())
    assert "No face was found." in (tmp_path / "out" / "report.html").read_text()
    with av.open(str(tmp_path / "out" / "annotated.mp4")) as copy:
        assert [(frame.width, frame.height, frame.time) for frame in copy.decode(video=0)] == [
            (64, 48, 0),
            (64, 48, 0.5),
            (64, 48, 1),
        ]


@pytest.mark.usefixtures("networks")
def test_wrong_sources_and_outputs_are_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path / "annotated.mp4", grey_frames(2))
    with pytest.raises(ConfigError, match=r"annotated.mp4 is also an input"):
        analyse(tmp_path / "annotated.mp4", tmp_path)
    with pytest.raises(ConfigError, match="is also an input"):
        analyse(tmp_path, tmp_path)
    Image.new("L", (64, 64)).save(tmp_path / "photo.jpg")
    with pytest.raises(ConfigError, match=r"photo.jpg is an image; expected a video .* use fer-edge predict"):
        analyse(tmp_path / "photo.jpg", tmp_path / "out")
    with pytest.raises(VideoError, match=r"cannot read .*none\.mp4"):
        analyse(tmp_path / "none.mp4", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(EngineUnavailableError, match=r'Parquet needs pyarrow .* pip install "fer-edge\[analyse\]"'):
        analyse(folder / "clip.mp4", tmp_path / "out", parquet=True)


def test_clock() -> None:
    assert [clock(seconds) for seconds in (0, 59.96, 65.34, 3600)] == ["0:00.0", "1:00.0", "1:05.3", "1:00:00.0"]
