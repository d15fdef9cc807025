"""`fer-edge calibrate`, then int8 bundles from what it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fer_edge.bundle import Bundle
from tests.cli.test_cli import fer_edge
from tests.faces import make_ferplus
from tests.tiny_model import tiny_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, a checkpoint, and its ranges after a search."""
    folder = tmp_path_factory.mktemp("calibrate")
    make_ferplus(folder / "ferplus", train=60, valid=30)
    tiny_checkpoint().save(folder / "tiny.safetensors")
    found = fer_edge(
        "calibrate", folder / "tiny.safetensors", folder / "ferplus", "-o", folder / "tiny.json", "--images", 48,
        "--set", folder / "set.json", "--max-drop", 50, "--threads", 1, "--engine", "onnxruntime", "--json",
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    (folder / "out.json").write_text(found.stdout)
    return folder


def test_ranges_set_and_measurements_are_written(folder: Path) -> None:
    said, ranges = (json.loads((folder / name).read_text()) for name in ("out.json", "tiny.json"))
    assert said["images"]["classes"] == {"happiness": 16, "neutral": 16, "surprise": 16}
    assert len(said["alone"]) == 26 and said["together"][0]["kept"] == []
    assert ranges["search"]["max_drop"] == 50 and ranges["search"]["engine"] == "onnxruntime"
    assert len(json.loads((folder / "set.json").read_text())["images"]) == 48
    assert "scores" in json.loads((folder / "tiny.search.json").read_text())


def test_calibrating_again_gives_the_same_bytes_and_measures_nothing_again(folder: Path) -> None:
    state = folder / "tiny.search.json"
    before = state.read_bytes(), state.stat().st_mtime_ns
    found = fer_edge(
        "calibrate", folder / "tiny.safetensors", folder / "ferplus", "-o", folder / "again.json", "--set",
        folder / "set.json", "--max-drop", 50, "--threads", 1, "--engine", "onnxruntime", "--state", state,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert "budget of 50 points met with 0 layers in float" in found.stdout
    assert (folder / "again.json").read_bytes() == (folder / "tiny.json").read_bytes()
    assert (state.read_bytes(), state.stat().st_mtime_ns) == before


def test_an_int8_bundle_says_what_it_runs_and_parity_looks_inside(folder: Path) -> None:
    bundle, faces = folder / "int8.fer", folder / "ferplus"
    built = fer_edge(
        "build-engine", folder / "tiny.safetensors", "--precision", "int8", "--ranges", folder / "tiny.json",
        "--engine", "onnxruntime", "--engine", "openvino", "-o", bundle,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    assert "multiplications %" in built.stdout
    manifest = Bundle.open(bundle).manifest
    assert manifest.precision == "int8" and "calibration.json" in manifest.files
    assert [entry.proof["macs"]["int8"] > 0.9 for entry in manifest.engines] == [True, True]
    inside = fer_edge(
        "parity", bundle, "--reference", folder / "tiny.safetensors", "--images", faces, "--layers", "--limit", 4,
        "--threshold", 5, "--json",
    )  # fmt: skip
    assert inside.returncode == 0, inside.stderr
    assert json.loads(inside.stdout)["tensors"][-1]["name"] == "probabilities"
    strict = fer_edge(
        "parity", bundle, "--reference", folder / "tiny.safetensors", "--images", faces, "--layers", "--limit", 4,
        "--threshold", 50,
    )  # fmt: skip
    assert strict.returncode == 1
    assert "first to diverge: stem/Transpose" in strict.stdout


def test_a_bundle_with_layers_in_float_is_mixed(folder: Path) -> None:
    ranges = json.loads((folder / "tiny.json").read_text())
    (folder / "kept.json").write_text(json.dumps({**ranges, "kept": ["stem.input/Conv"]}))
    recipe = folder / "mixed.toml"
    recipe.write_text('checkpoint = "tiny.safetensors"\nprecision = "int8"\nranges = "kept.json"\n')
    built = fer_edge("build-engine", "--recipe", recipe, "-o", folder / "mixed.fer", "--json")
    assert built.returncode == 0, built.stderr
    assert json.loads(built.stdout)["manifest"]["precision"] == "mixed"


def test_what_cannot_be_right_is_refused(folder: Path) -> None:
    checkpoint, data, out = folder / "tiny.safetensors", folder / "ferplus", folder / "x.json"
    cases: list[tuple[tuple[object, ...], int, str]] = [
        (
            ("calibrate", checkpoint, data, "-o", out, "--method", "best"),
            2,
            "no method 'best'; expected one of: minmax",
        ),
        (("calibrate", checkpoint, data, "-o", out, "--layers", "pool"), 2, "no kind of layer 'pool'"),
        (("calibrate", checkpoint, data, "-o", out, "--images", 8), 1, "a calibration set of 8 images; expected at"),
        (
            ("calibrate", checkpoint, data, "-o", out, "--max-drop", 1, "--plot", folder / "x.foo"),
            2,
            "expected one of: .svg, .png, .pdf",
        ),
        (("calibrate", checkpoint, data, "-o", out, "--plot", folder / "x.svg"), 2, "--plot is about the search; add"),
        (("calibrate", checkpoint, data, "-o", out, "--engine", "openvino"), 2, "--engine is about the search; add"),
        (
            ("parity", folder / "int8.fer", "--reference", checkpoint, "--images", data, "--plot", folder / "x.svg"),
            2,
            "--plot is about what --layers compares; add --layers",
        ),
        (
            ("parity", folder / "int8.fer", "--reference", checkpoint, "--images", data, "--threshold", 20),
            2,
            "--threshold is about what --layers compares; add --layers",
        ),
        (
            ("parity", folder / "int8.fer", "--reference", checkpoint, "--images", data, "--layers", "--tolerance", 1),
            2,
            "--tolerance is about outputs, which --layers does not compare",
        ),
        (("calibrate", checkpoint, data, "-o", out, "--limit", 64), 2, "--limit is about the search; add --max-drop"),
        (("evaluate", checkpoint, data, "--layout", "fer"), 2, "no layout 'fer'; expected one of: auto, ferplus"),
        (("build-engine", checkpoint, "--precision", "int8"), 2, "int8 needs activation ranges"),
        (
            ("build-engine", checkpoint, "--precision", "fp16", "--ranges", folder / "tiny.json"),
            1,
            "openvino does not run",
        ),
    ]
    for arguments, code, message in cases:
        found = fer_edge(*arguments)
        assert (found.returncode, message in found.stderr) == (code, True), found.stderr
    other = folder / "other.safetensors"
    tiny_checkpoint(seed=1).save(other)
    found = fer_edge("build-engine", other, "--precision", "int8", "--ranges", folder / "tiny.json")
    assert "tiny.json was made of another checkpoint" in found.stderr
    allowed = fer_edge(
        "build-engine", checkpoint, "--precision", "fp16", "--ranges", folder / "tiny.json", "--allow-fallback",
        "-o", folder / "half.fer",
    )  # fmt: skip
    assert allowed.returncode == 0, allowed.stderr
    assert "openvino runs 31 layers in another precision than the graph says" in allowed.stderr


def test_recipes_name_what_there_is() -> None:
    from fer_edge.cli.build_engine import _recipe
    from fer_edge.engines.available import ENGINE_MODULES

    recipes = sorted((Path(__file__).parents[2] / "export").glob("*.toml"))
    assert [recipe.stem for recipe in recipes] == [
        "cpu-fp32", "cpu-int8", "jetson-fp16", "jetson-int8", "onnx-portable", "rtx-fp16", "rtx-int8",
    ]  # fmt: skip
    for recipe in recipes:
        settings = _recipe(recipe)
        assert settings["checkpoint"].is_file()
        assert settings["precision"] == "fp32" or settings["ranges"].is_file()
        assert set(settings["engines"]) <= {*ENGINE_MODULES, "tensorrt"}
        assert f"--recipe {recipe.stem}" in recipe.read_text()
