"""`fer-edge calibrate`, then int8 bundles from what it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fer_edge.cli.calibrate_display import images_allowed, resolution

from fer_edge.bundle import Bundle
from tests.command import fer_edge
from tests.faces import make_ferplus
from tests.tiny_model import overflowing_checkpoint, tiny_checkpoint


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
        "parity", bundle, "--checkpoint", folder / "tiny.safetensors", "--images", faces, "--per-tensor", "--count", 4,
        "--threshold", 5, "--json",
    )  # fmt: skip
    assert inside.returncode == 0, inside.stderr
    assert json.loads(inside.stdout)["tensors"][-1]["name"] == "probabilities"
    strict = fer_edge(
        "parity", bundle, "--checkpoint", folder / "tiny.safetensors", "--images", faces, "--per-tensor", "--count", 4,
        "--threshold", 50,
    )  # fmt: skip
    assert strict.returncode == 1
    assert "first to diverge: stem/Transpose" in strict.stdout
    count = len(json.loads(inside.stdout)["tensors"])
    assert f"the worst 10 of {count} tensors; --all lists every one" in strict.stderr
    every = fer_edge(
        "parity", bundle, "--checkpoint", folder / "tiny.safetensors", "--images", faces, "--per-tensor", "--count", 4,
        "--threshold", 5, "--all",
    )  # fmt: skip
    assert all(tensor["name"] in every.stdout for tensor in json.loads(inside.stdout)["tensors"])


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
    layers = ("parity", folder / "int8.fer", "--checkpoint", checkpoint, "--images", data, "--per-tensor")
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
            ("parity", folder / "int8.fer", "--checkpoint", checkpoint, "--images", data, "--plot", folder / "x.svg"),
            2,
            "--plot is about what --per-tensor compares; add --per-tensor",
        ),
        (
            ("parity", folder / "int8.fer", "--checkpoint", checkpoint, "--images", data, "--threshold", 20),
            2,
            "--threshold is about what --per-tensor compares; add --per-tensor",
        ),
        (
            (
                "parity",
                folder / "int8.fer",
                "--checkpoint",
                checkpoint,
                "--images",
                data,
                "--per-tensor",
                "--tolerance",
                1,
            ),
            2,
            "--tolerance is about outputs, which --per-tensor does not compare",
        ),
        (("calibrate", checkpoint, data, "-o", out, "--limit", 64), 2, "--limit is about the search; add --max-drop"),
        (("calibrate", checkpoint, data, "-o", out, "--threads", 1), 2, "--threads is about the search; add"),
        (
            ("calibrate", checkpoint, data, "-o", out, "--max-drop", "nan"),
            2,
            "nan is not a finite number from 0",
        ),
        (
            ("calibrate", checkpoint, data, "-o", out, "--set", folder / "set.json", "--images", 64),
            2,
            f"--images is about choosing a set, and {folder}/set.json is there; name another --set, or leave out",
        ),
        (
            ("calibrate", checkpoint, data, "-o", out, "--set", folder / "set.json", "--seed", 0),
            2,
            f"--seed is about choosing a set, and {folder}/set.json is there; name another --set, or leave out --seed",
        ),
        (("calibrate", checkpoint, data, "-o", checkpoint), 2, "the name of a file of ranges ends in .json"),
        (
            ("calibrate", checkpoint, data, "-o", folder / "set.json", "--set", folder / "set.json"),
            2,
            f"the output {folder}/set.json is also an input",
        ),
        (
            ("calibrate", checkpoint, data, "-o", folder / "n.json", "--set", folder / "n.json"),
            2,
            f"--out and --set name one file, {folder}/n.json; name two",
        ),
        (
            ("calibrate", checkpoint, data, "-o", out, "--max-drop", 1, "--state", out),
            2,
            "--out and --state name one file",
        ),
        (
            ("parity", folder / "int8.fer", "--checkpoint", checkpoint, "--images", data, "--tolerance", "nan"),
            2,
            "nan is not a finite number from 0",
        ),
        (
            ("parity", folder / "int8.fer", "--checkpoint", checkpoint, "--images", data, "--tolerance", "-1"),
            2,
            "'--tolerance': -1 is not a finite number from 0",
        ),
        (
            (*layers, "--threshold", "inf"),
            2,
            "inf is not a finite number from 0",
        ),
        ((*layers, "--threshold", "-1"), 2, "-1 is not a finite number from 0"),
        (
            ("parity", folder / "int8.fer", "--checkpoint", checkpoint, "--images", data, "--all"),
            2,
            "--all is about what --per-tensor compares; add --per-tensor",
        ),
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


def test_a_search_says_what_its_images_resolve_and_lists_the_worst(folder: Path, tmp_path: Path) -> None:
    common = [
        "calibrate", folder / "tiny.safetensors", folder / "ferplus", "-o", tmp_path / "r.json", "--set",
        folder / "set.json", "--max-drop", 50, "--threads", 1, "--engine", "onnxruntime", "--state",
        folder / "tiny.search.json",
    ]  # fmt: skip
    plain = fer_edge(*common)
    assert plain.returncode == 0, plain.stderr
    assert "30 images resolve 3.3 points; a budget of 50 allows 15 of them lost\n" in plain.stderr
    assert "the worst 10 of 26 layers; --all lists every one\n" in plain.stderr
    assert "+/- is half of a drop's 95 % interval, at least one image (3.3 points)" in plain.stdout
    layers = json.loads((folder / "out.json").read_text())["alone"]
    assert sum(name in plain.stdout for name in layers) == 10
    every = fer_edge(*common, "--all")
    assert all(name in every.stdout for name in layers) and "the worst" not in every.stderr
    said = json.loads((folder / "out.json").read_text())
    assert (said["images_scored"], said["images_allowed"]) == (30, 15)
    assert said["resolution"] == pytest.approx(100 / 30) and said["drop_interval"] >= 100 / 30


def test_a_budget_below_one_image_is_told() -> None:
    assert resolution(300, 0.3) == (
        "300 images resolve 0.33 points; a budget of 0.3 allows 0 of them lost: take more images or a larger budget"
    )
    assert resolution(3191, 0.3) == "3191 images resolve 0.031 points; a budget of 0.3 allows 9 of them lost"
    assert images_allowed(1000, 0.3) == 3  # 0.3 % of 1000, not a rounding error less


def test_a_model_that_gives_no_numbers_leaves_no_file(folder: Path, tmp_path: Path) -> None:
    overflowing_checkpoint().save(tmp_path / "big.safetensors")
    found = fer_edge(
        "calibrate", tmp_path / "big.safetensors", folder / "ferplus", "-o", tmp_path / "big.json", "--images", 48,
        "--set", tmp_path / "set.json", "--max-drop", 1,
    )  # fmt: skip
    assert (found.returncode, found.stdout) == (1, "")
    assert "error: tensor stem." in found.stderr and "holds NaN or infinity" in found.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["big.safetensors"]


def test_ranges_and_set_appear_together_or_not_at_all(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "set.json").symlink_to(folder)  # a folder: nothing can be written there
    found = fer_edge(
        "calibrate", folder / "tiny.safetensors", folder / "ferplus", "-o", tmp_path / "r.json", "--images", 48,
        "--set", tmp_path / "set.json",
    )  # fmt: skip
    assert found.returncode != 0 and "Traceback" not in found.stderr
    assert not (tmp_path / "r.json").exists()


def test_recipes_name_what_there_is() -> None:
    from fer_edge.cli.build_engine import _recipe
    from fer_edge.engines.registry import ENGINE_MODULES

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
