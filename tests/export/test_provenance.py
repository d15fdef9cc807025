"""Origin of a bundle: recorded inputs, names, and equal bytes of equal builds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fer_edge.bundle import Bundle
from fer_edge.errors import BundleDamagedError, ConfigError
from fer_edge.export.build import build
from fer_edge.export.provenance import provenance_of
from fer_edge.export.recipe import build_arguments
from fer_edge.graph.ranges import Ranges, read_ranges
from fer_edge.manifest import DataRecord, Provenance, RecipeRecord, parse_manifest
from fer_edge.model.config import model_name, preset
from fer_edge.shipped import shipped_bundle, shipped_file
from tests.calibration.tiny_ranges import TinyCalibration
from tests.command import fer_edge
from tests.tiny import tiny_bundle, tiny_manifest
from tests.tiny_model import tiny_config

RECIPE = RecipeRecord("cpu-int8", "ab" * 32, ("max_batch",))
RECORDS = Provenance("cd" * 32, (DataRecord("calibration", "FERPlus train", 512, "ef" * 32),), RECIPE)


def test_ranges_and_their_images_are_recorded() -> None:
    path = shipped_file("ranges", "edge")
    ranges = read_ranges(path)
    record = provenance_of(ranges, None)
    assert record.ranges == ranges.sha256() and record.recipe is None
    calibration, evaluation = record.data
    images, search = (json.loads(path.read_text())[name] for name in ("images", "search"))
    assert calibration == DataRecord("calibration", "FERPlus train", 512, images["sha256"])
    assert evaluation == DataRecord("evaluation", "FERPlus valid", 3191, search["sha256"])
    assert provenance_of(None, RECIPE) == Provenance(recipe=RECIPE)


def test_descriptions_of_any_type_are_recorded() -> None:
    images = {"source": "a\nb", "count": True, "sha256": 3}
    ranges = Ranges("0" * 64, "minmax", 16, images, {}, search={"images": -1})
    record = provenance_of(ranges, None)
    assert [(data.name, data.sha256) for data in record.data] == [("a\\nb", ""), ("", "")]
    manifest = tiny_manifest(provenance=record)
    assert parse_manifest(manifest.to_json().encode(), Path("a.fer")).provenance == record


def test_recipe_is_recorded_with_its_changes(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        'checkpoint = "a.safetensors"\nengines = ["openvino"]\nmax_batch = 8\n[options.tensorrt]\ntf32 = true\n'
    )
    same = {"checkpoint": tmp_path / "a.safetensors", "engines": ["openvino"], "max_batch": 8}
    record = build_arguments(recipe, same, {"tensorrt": {"tf32": True}})["recipe"]
    assert (record.name, record.overrides) == ("mine", ()) and len(record.sha256) == 64
    others = {"max_batch": 4, "precision": "int8"}
    changed = build_arguments(recipe, others, {"tensorrt": {"tf32": False, "workspace_mb": 64}})["recipe"]
    assert changed == replace(record, overrides=("max_batch", "precision", "tensorrt.tf32", "tensorrt.workspace_mb"))
    assert "recipe" not in build_arguments(None, same, {})


def test_bundles_of_earlier_versions_open() -> None:
    shipped = Bundle.open(shipped_bundle()).manifest
    assert shipped.provenance == Provenance() and '"provenance": {\n  "ranges"' not in shipped.to_json()
    written = json.loads(tiny_manifest().to_json())
    assert "provenance" not in written  # earlier versions read bundles without ranges and recipe


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"recipe": {"name": "a"}}, "provenance.recipe.sha256 is missing"),
        ({"data": [{"use": "training", "name": "a", "count": 1}]}, r"provenance.data\[0\].use is 'training'"),
        ({"data": [{"use": "evaluation", "name": "a", "count": -1}]}, r"data\[0\].count is -1; expected .* >= 0"),
        ({"weights": "a"}, "provenance.weights is not known"),
        ({"ranges": "\x1b[2J"}, "unprintable characters"),
    ],
)
def test_invalid_provenance_is_refused(value: object, message: str) -> None:
    content = json.dumps({**json.loads(tiny_manifest().to_json()), "provenance": value}).encode()
    with pytest.raises(BundleDamagedError, match=message):
        parse_manifest(content, Path("a.fer"))


def test_inspect_shows_the_origin(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "a.fer", provenance=RECORDS, checkpoint={"sha256": "12" * 32})
    text = fer_edge("inspect", bundle).stdout
    for line in (
        "name         tiny",
        "checkpoint   SHA-256 121212121212",
        "recipe       cpu-int8, SHA-256 abababababab",
        "changed      max_batch",
        "ranges       SHA-256 cdcdcdcdcdcd",
        "calibration  512 images of FERPlus train, SHA-256 efefefefefef",
    ):
        assert f"  {line}\n" in text
    contents = json.loads(fer_edge("inspect", bundle, "--json").stdout)
    assert contents["provenance"]["data"][0]["sha256"] == "ef" * 32


def test_name_is_that_of_the_preset() -> None:
    assert model_name(preset("edge", classes=3)) == "edge"
    assert model_name(preset("paper", classes=7, text_dim=384, text_scale=25.0)) == "paper"
    assert model_name(preset("edge", classes=8, depth=4)) == model_name(tiny_config()) == "ferformer"


@pytest.mark.parametrize("name", ["", " ", "a\nb", 3])
def test_invalid_names_are_refused(name: object, tiny_calibration: TinyCalibration, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"name is .*; expected printable text that is not empty"):
        build(tiny_calibration.checkpoint, tmp_path / "a.fer", name=name)  # type: ignore[arg-type]


@pytest.mark.slow
def test_equal_builds_give_equal_bytes_under_any_name(tiny_calibration: TinyCalibration, tmp_path: Path) -> None:
    recipe, copy = tmp_path / "r.toml", tmp_path / "other.safetensors"
    copy.write_bytes(tiny_calibration.checkpoint.read_bytes())
    bundles = []
    for checkpoint, out in ((tiny_calibration.checkpoint, "a.fer"), (copy, "b.fer")):
        recipe.write_text('engines = ["openvino", "onnxruntime"]\nprecision = "int8"\n')
        arguments = ["--recipe", recipe, "--ranges", tiny_calibration.ranges, "-o", tmp_path / out]
        done = fer_edge("build-engine", checkpoint, *arguments)
        assert done.returncode == 0, done.stderr
        bundles.append((tmp_path / out).read_bytes())
    assert bundles[0] == bundles[1]
    manifest = Bundle.open(tmp_path / "a.fer").manifest
    ranges = read_ranges(tiny_calibration.ranges)
    assert manifest.name == "ferformer" and manifest.provenance.ranges == ranges.sha256()
    assert manifest.provenance.recipe is not None
    assert manifest.provenance.recipe.overrides == ("checkpoint", "ranges")
    evaluation = manifest.provenance.data[1]
    assert (evaluation.use, evaluation.count) == ("evaluation", 30) and len(evaluation.sha256) == 64
    assert {"fer_edge", "torch", "onnx", "onnx_ir", "onnxscript"} == set(manifest.created_with)


@pytest.mark.slow
def test_option_names_the_model(tiny_calibration: TinyCalibration, tmp_path: Path) -> None:
    named = fer_edge("build-engine", tiny_calibration.checkpoint, "--name", "mine", "-o", tmp_path / "a.fer")
    assert named.returncode == 0, named.stderr
    assert Bundle.open(tmp_path / "a.fer").manifest.name == "mine"
    exported = fer_edge("bundle", "export-triton", tmp_path / "a.fer", "-o", tmp_path / "models")
    assert exported.returncode == 0 and (tmp_path / "models" / "mine" / "config.pbtxt").is_file()
