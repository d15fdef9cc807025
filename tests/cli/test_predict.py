"""`fer-edge predict`: a result or an error for every image, printed as soon as it is ready."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from fer_edge.analysis import image_items
from fer_edge.cli import predict as command
from fer_edge.cli.main import app
from fer_edge.expression import Expression
from fer_edge.recognizer import Recognizer
from tests.images.make import RGB, encoded, png
from tests.result_document import check_document
from tests.synthetic import smooth_frame
from tests.tiny import tiny_bundle

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX pipes and signals")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny.fer")


@pytest.fixture
def face(tmp_path: Path) -> Path:
    Image.fromarray(smooth_frame()).convert("L").resize((48, 48)).save(
        tmp_path / "face.png"
    )  # noise would give a warning
    return tmp_path / "face.png"


def run(*arguments: object) -> Result:
    """Run the command on face crops, or with the box among the arguments."""
    crop = [] if {"--box", "--boxes"} & set(map(str, arguments)) else ["--crop"]
    return CliRunner().invoke(app, ["predict", *map(str, arguments), *crop])


def start(*arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    code = "from fer_edge.cli.main import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "predict", *map(str, arguments), "--crop"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_bad_image_does_not_stop_the_others(bundle: Path, face: Path, tmp_path: Path) -> None:
    bad, empty = tmp_path / "bad.png", tmp_path / "empty"
    bad.write_bytes(b"no image")
    empty.mkdir()
    named = [bad, face, tmp_path / "none.png", face, empty, face]
    result = run(*named, "--bundle", bundle, "--json")
    assert result.exit_code == 1
    rows = lines(result.stdout)
    assert [row["source"] for row in rows] == list(map(str, named))
    for row in rows:
        check_document(row)
    assert ["error" in row for row in rows] == [True, False, True, False, True, False]
    assert set(rows[1]) == {"version", "source", "frame", "time", "size", "people"} and rows[1]["size"] == [48, 48]
    (person,) = rows[1]["people"]
    expression = person["expression"]
    assert set(expression["derived"]) == {"valence", "arousal"} and person["quality"]["width"] == 48
    assert person["id"] is person["face"] is person["raw"] is person["since"] is person["fresh"] is None
    assert expression["score"] == max(expression["scores"].values()) == expression["scores"][expression["label"]]
    errors = result.stderr.splitlines()
    assert errors[:-1] == [f"error: {row['error']}" for row in rows if "error" in row]
    assert all(str(path) in error for path, error in zip((bad, named[2], empty), errors[:-1], strict=True))
    assert errors[-1] == "6 images, 3 failed"


def test_bad_box_fails_one_image_only(bundle: Path, face: Path, tmp_path: Path) -> None:
    Image.new("RGB", (99, 99), (200, 99, 9)).save(tmp_path / "large.png")
    result = run(face, tmp_path / "large.png", "--box", "60,60,30,30", "--bundle", bundle)
    assert result.exit_code == 1 and f"error: {face}: box (60, 60, 30, 30) is " in result.stderr
    assert result.stdout.splitlines()[1].endswith("large.png") and len(result.stdout.splitlines()) == 2


def test_other_files_in_a_folder_are_counted(bundle: Path, face: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fer_edge import walk

    listing = walk.ImageListing((face,), (walk.LeftOut(face.with_name(".x"), "hidden folder"),))
    monkeypatch.setattr(image_items, "find_images", lambda path: listing)
    result = run(face.parent, "--bundle", bundle)
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [*walk.notes(listing.left_out), "1 image, 1 left out"]


def test_rows_have_fixed_columns_and_whole_paths_in_a_pipe(bundle: Path, face: Path, tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a long name of a folder"] * 6)
    deep.mkdir(parents=True)
    face.rename(deep / "face.png")
    result = run(deep, "--bundle", bundle, "--top", "3")
    heading, *rows = result.stdout.splitlines()
    assert heading.split() == ["face", "expression", "score", "box", "note", "image"] and len(rows) == 3
    assert all(row.index(str(deep)) == heading.index("image") and row.endswith("face.png") for row in rows)
    scores = [float(row.split()[2]) for row in rows]
    assert scores == sorted(scores, reverse=True)


def test_path_is_shortened_on_narrow_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    path = "/data/" + "x" * 200 + "/0001.png"
    assert command._shorten(path, 24) == path
    monkeypatch.setattr(command, "_is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    short = command._shorten(path, 24)
    assert len(short) == 56 and short.startswith("/data/x") and "..." in short and short.endswith("/0001.png")
    assert command._shorten("a.png", 24) == "a.png"


def test_top_with_json_is_refused(bundle: Path, face: Path) -> None:
    result = run(face, "--bundle", bundle, "--json", "--top", "2")
    assert result.exit_code == 2 and "--top applies only to the table; leave out --json" in result.stderr.replace(
        "\n", " "
    )
    assert run(face, "--bundle", bundle, "--top", "0").exit_code == 2
    assert len(run(face, "--bundle", bundle, "--top", "99").stdout.splitlines()) == 1 + 3


def test_max_pixels_limits_images(bundle: Path, face: Path) -> None:
    result = run(face, "--bundle", bundle, "--max-pixels", "2303")
    assert result.exit_code == 1
    assert "48 x 48 pixels; expected at most 2303 pixels: make it smaller, or increase max_pixels" in result.stderr
    assert run(face, "--bundle", bundle, "--max-pixels", "2304").exit_code == 0


def test_control_characters_in_names_are_escaped(bundle: Path, face: Path, tmp_path: Path) -> None:
    odd = tmp_path / "x\x1b]0;hi\x07\nerror: y.png"
    odd.write_bytes(face.read_bytes())
    bad = tmp_path / "b\x1b[2K\n.png"
    bad.write_bytes(b"bad")
    result = run(odd, bad, "--bundle", bundle)
    assert "\x1b" not in result.output and "\x07" not in result.output
    assert len(result.stdout.splitlines()) == 2 and len(result.stderr.splitlines()) == 2
    assert "x\\x1b]0;hi\\x07\\nerror: y.png" in result.stdout and "b\\x1b[2K\\n.png is not an image" in result.stderr


@POSIX
def test_image_from_standard_input(bundle: Path) -> None:
    for name in ("-", "/dev/stdin"):
        process = start(name, "--bundle", bundle, "--json", stdin=subprocess.PIPE)
        out, err = process.communicate(png(RGB))
        assert process.returncode == 0 and json.loads(out)["source"] == name, err
    process = start("-", "--bundle", bundle, stdin=subprocess.DEVNULL)
    out, err = process.communicate()
    assert process.returncode == 1 and b"error: standard input is empty (0 bytes); expected an image file" in err


@POSIX
def test_image_from_a_named_pipe(bundle: Path, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, png(RGB))
    os.close(writing)
    process = start(f"/dev/fd/{reading}", "--bundle", bundle, pass_fds=[reading])
    out, err = process.communicate()
    os.close(reading)
    assert process.returncode == 0 and f"/dev/fd/{reading}".encode() in out, err


@POSIX
@pytest.mark.parametrize("options", [[], ["--json"]], ids=["table", "json"])
def test_finished_rows_are_printed_before_an_interrupt(
    bundle: Path, face: Path, tmp_path: Path, options: list[str]
) -> None:
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    process = start(face, face, fifo, face, "--bundle", bundle, *options)
    assert process.stdout is not None
    rows = [process.stdout.readline() for _ in range(2 if options else 3)]  # the pipe has not delivered its image yet
    assert rows[-1].count(b"face.png") == 1
    time.sleep(0.1)  # until the pipe is open
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert err.decode().splitlines() == ["stopped after 2 of 4 images"]


def test_messages_of_decoders_are_suppressed(bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = encoded(Image.fromarray(RGB), "TIFF", compression="tiff_lzw")
    at = whole.index(b"\x11\x01")  # StripOffsets, moved beyond the strips
    (tmp_path / "a.tif").write_bytes(whole[: at + 8] + b"\xff\xff\xff\0" + whole[at + 12 :])
    result = run(tmp_path / "a.tif", "--bundle", bundle)
    assert result.exit_code == 1 and len(result.stderr.splitlines()) == 2
    assert capfd.readouterr().err == ""


def test_memory_error_and_warning_concern_one_image(bundle: Path, face: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: Iterator[Expression | MemoryError]
    answers = iter([MemoryError(), Expression("calm", 0.5, {"calm": 0.5, "other": 0.4})])

    def recognize(self: Recognizer, frame: object, box: object = None) -> Expression:
        answer = next(answers)
        if isinstance(answer, MemoryError):
            raise answer
        object.__setattr__(answer, "warning", "face of 10 x 10 pixels")
        return answer

    monkeypatch.setattr(Recognizer, "recognize", recognize)
    result = run(face, face, "--bundle", bundle, "--json")
    assert result.exit_code == 1
    failed, answered = lines(result.stdout)
    assert failed["error"] == f"{face}: not enough memory to cut out the face; free memory, or make the image smaller"
    assert answered["people"][0]["expression"]["warning"] == "face of 10 x 10 pixels"
    assert f"warning: {face}: face of 10 x 10 pixels" in result.stderr.splitlines()


def test_missing_bundle_stops_the_command(face: Path, tmp_path: Path) -> None:
    result = run(tmp_path / "none.png", face, "--bundle", tmp_path / "none.fer")
    assert result.exit_code == 1 and result.stdout == "" and "none.png" not in result.stderr
