"""What `inspect` says first, in full, and about files of other kinds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fer_edge.cli.inspect import tree
from tests.command import fer_edge
from tests.tiny import tiny_bundle
from tests.tiny_model import tiny_checkpoint

METRICS = {"validation_accuracy": 90.0, "validation_images": 400, "temperature": {"error_after": 0.0123}}


def test_a_bundle_is_told_in_its_first_lines(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "a.fer", checkpoint={"metrics": METRICS})
    shown = fer_edge("inspect", bundle).stdout.splitlines()
    assert len(shown) == 7
    assert shown[0].startswith(f"{bundle}: a bundle, 0.0 MB, every member as its hash says")
    assert shown[1].split() == ["precision", "fp32,", "batches", "of", "up", "to", "8"]
    assert shown[2].strip() == "engines    openvino (cpu) runs here; onnxruntime (cpu) runs here"
    assert shown[3].strip() == "labels     neutral, happiness, surprise"
    assert "90.00 % of 400 validation images (95 %: 86.7 to 92.6 %), calibration error 0.012" in shown[4]
    assert len(shown[5].split()[1]) == 64
    full = fer_edge("inspect", bundle, "--full").stdout
    assert "\n  engines:\n    1:\n      engine: openvino\n      targets: cpu\n" in full
    found = json.loads(fer_edge("inspect", bundle, "--json").stdout)
    assert found["file"]["kind"] == "bundle" and found["file"]["sha256"] == shown[5].split()[1]
    assert found["runs_here"]["openvino"] == {"runs": True, "reason": ""}
    both = fer_edge("inspect", bundle, "--full", "--json")
    assert both.returncode == 2 and "--json shows everything; leave out --full" in both.stderr


def test_an_engine_that_does_not_run_says_why(tmp_path: Path) -> None:
    from fer_edge.bundle import EngineEntry

    entries = (
        EngineEntry("tensorrt-rtx", ("sm86",), "1.7", None, None),
        EngineEntry("openvino", ("cpu",), "1", None, None),
    )
    shown = fer_edge("inspect", tiny_bundle(tmp_path / "a.fer", engines=entries)).stdout
    assert "tensorrt-rtx (sm86) does not run here: " in shown or "tensorrt-rtx (sm86) runs here" in shown
    assert "; openvino (cpu) runs here" in shown


def test_a_checkpoint_is_told_by_its_content(tmp_path: Path) -> None:
    tiny_checkpoint().save(tmp_path / "noext")
    shown = fer_edge("inspect", tmp_path / "noext")
    assert shown.returncode == 0, shown.stderr
    assert "noext: a checkpoint, " in shown.stdout
    assert "not recorded; measure it with fer-edge evaluate" in shown.stdout


@pytest.mark.parametrize("command", ["inspect", "evaluate"])
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.fer", b"<!DOCTYPE html><html>", "is an HTML page, such as a failed download leaves behind"),
        ("b.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of git-lfs: run git lfs pull"),
        ("c.fer", b"", "is an empty file (0 bytes)"),
        ("d", b"\x89PNG\r\n\x1a\n", "is a PNG image; expected a bundle (.fer) or a checkpoint (.safetensors)"),
        ("e.fer", b"PK\x03\x04 cut off", "zip"),
    ],
)  # fmt: skip
def test_other_files_are_named(tmp_path: Path, command: str, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    found = fer_edge(command, tmp_path / name, *([tmp_path] if command == "evaluate" else []))
    assert (found.returncode, len(found.stderr.splitlines())) == (1, 1)
    assert message in found.stderr


def test_a_tree_is_indented_and_figures_are_short() -> None:
    nested = {"a": {"b": [1, 2], "c": {}}, "d": [{"e": 0.012345678}], "f": None}
    assert list(tree(nested)) == [
        "  a:",
        "    b: 1, 2",
        "    c: none",
        "  d:",
        "    1:",
        "      e: 0.0123457",
        "  f: none",
    ]
