"""`fer-edge inspect`: summary, all fields, and files of other kinds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fer_edge.cli.inspect import tree
from tests.command import fer_edge
from tests.tiny import tiny_bundle
from tests.tiny_model import tiny_checkpoint

METRICS = {"validation_accuracy": 90.0, "validation_images": 400, "temperature": {"error_after": 0.0123}}


def test_bundle_summary_and_fields(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "a.fer", checkpoint={"metrics": METRICS})
    lines = fer_edge("inspect", bundle).stdout.splitlines()
    assert len(lines) == 8
    assert lines[0].startswith(f"{bundle}: bundle, 0.0 MB, all members match their hashes")
    assert lines[1].split() == ["name", "tiny"]
    assert lines[2].split() == ["precision", "fp32,", "batches", "of", "up", "to", "8"]
    assert lines[3].strip() == "engines    openvino (cpu) runs here; onnxruntime (cpu) runs here"
    assert lines[4].strip() == "labels     neutral, happiness, surprise"
    assert "90.00 % of 400 validation images (95 %: 86.7 to 92.6 %), calibration error 0.012" in lines[5]
    assert len(lines[6].split()[1]) == 64
    assert "--full" in lines[7] and "--json" in lines[7]
    full = fer_edge("inspect", bundle, "--full").stdout
    assert "\n  engines:\n    1:\n      engine: openvino\n" in full
    contents = json.loads(fer_edge("inspect", bundle, "--json").stdout)
    assert contents["file"]["kind"] == "bundle" and contents["file"]["sha256"] == lines[6].split()[1]
    assert contents["runs_here"]["openvino"] == {"runs": True, "reason": ""}
    both = fer_edge("inspect", bundle, "--full", "--json")
    assert both.returncode == 2 and "--json prints every field; leave out --full" in both.stderr


def test_engine_that_does_not_run_has_a_reason(tmp_path: Path) -> None:
    from fer_edge.bundle import EngineEntry

    entries = (
        EngineEntry("tensorrt-rtx", ("sm86",), "1.7", None, None),
        EngineEntry("openvino", ("cpu",), "1", None, None),
    )
    text = fer_edge("inspect", tiny_bundle(tmp_path / "a.fer", engines=entries)).stdout
    assert "tensorrt-rtx (sm86) does not run here: " in text or "tensorrt-rtx (sm86) runs here" in text
    assert "; openvino (cpu) runs here" in text


def test_checkpoint_is_recognised_by_its_content(tmp_path: Path) -> None:
    tiny_checkpoint().save(tmp_path / "noext")
    result = fer_edge("inspect", tmp_path / "noext")
    assert result.returncode == 0, result.stderr
    assert "noext: checkpoint, " in result.stdout
    assert "not recorded; measure it with fer-edge evaluate" in result.stdout


@pytest.mark.parametrize("command", ["inspect", "evaluate"])
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.fer", b"<!DOCTYPE html><html>", "is an HTML page"),
        ("b.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("c.fer", b"", "is an empty file (0 bytes)"),
        ("d", b"\x89PNG\r\n\x1a\n", "is a PNG image; expected a bundle (.fer) or a checkpoint (.safetensors)"),
        ("e.fer", b"PK\x03\x04 cut off", "zip"),
    ],
)  # fmt: skip
def test_file_of_another_kind_is_named(tmp_path: Path, command: str, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    result = fer_edge(command, tmp_path / name, *([tmp_path] if command == "evaluate" else []))
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)
    assert message in result.stderr


def test_tree_is_indented_and_numbers_are_short() -> None:
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
