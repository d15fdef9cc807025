"""Text for one line of a terminal: escaping, joining, suggestions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fer_edge._text import did_you_mean, one_line, printable


def test_controls_are_escaped() -> None:
    assert printable("x\x1b]0;hi\a\ny\u202e") == r"x\x1b]0;hi\x07\ny\u202e"
    assert printable("fröhlich, 怒り") == "fröhlich, 怒り"


@given(st.text(st.characters()))
def test_any_text_becomes_one_printable_line(text: str) -> None:
    for line in (printable(text), one_line(text)):
        assert len(line.splitlines()) <= 1
        assert "\x1b" not in line
        line.encode()


def test_lines_are_joined_without_colours_and_truncated() -> None:
    assert one_line("\x1b[31mException\x1b[0m from\n\n  src/core.cpp:\tfailed") == "Exception from src/core.cpp: failed"
    assert one_line("a" * 400) == "a" * 297 + "..."


def test_closest_name_is_suggested() -> None:
    assert did_you_mean("OpenVINO", ["openvino", "onnxruntime"]) == "; did you mean openvino?"
    assert did_you_mean("cuda", ["openvino", "onnxruntime"]) == ""
