"""`fer-edge calibrate`, and int8 bundles built from its ranges."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fer_edge.bundle import Bundle
from fer_edge.calibration.workflow import images_allowed, resolution
from tests.calibration.tiny_ranges import TinyCalibration
from tests.command import fer_edge
from tests.tiny_model import tiny_checkpoint


@pytest.fixture(scope="session")
def tiny(tiny_calibration: TinyCalibration) -> TinyCalibration:
    return tiny_calibration


def test_ranges_set_and_state_are_written(tiny: TinyCalibration) -> None:
    result, ranges = tiny.result(), json.loads(tiny.ranges.read_text())
    assert result["ranges"] == str(tiny.ranges)
    assert result["images"]["classes"] == {"happiness": 16, "neutral": 16, "surprise": 16}
    assert len(result["alone"]) == 26 and result["together"][0]["float_layers"] == []
    assert ranges["search"]["max_drop"] == 50 and ranges["search"]["engine"] == "onnxruntime"
    assert len(json.loads(tiny.calibration_set.read_text())["images"]) == 48
    assert "scores" in json.loads(tiny.state.read_text())


def test_repeated_search_resumes_and_gives_the_same_bytes(tiny: TinyCalibration, tmp_path: Path) -> None:
    before = tiny.state.read_bytes(), tiny.state.stat().st_mtime_ns
    result = fer_edge(
        "calibrate", tiny.checkpoint, tiny.data, "-o", tmp_path / "again.json", "--calibration-set",
        tiny.calibration_set, *tiny.search_options, "--state", tiny.state, "--all",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "again.json").read_bytes() == tiny.ranges.read_bytes()
    assert (tiny.state.read_bytes(), tiny.state.stat().st_mtime_ns) == before
    assert "the budget of 50 points is met with 0 layers in float" in result.stdout
    assert "+/- is half of a drop's 95 % interval, at least one image (3.3 points)" in result.stdout
    assert "30 images resolve 3.3 points; a budget of 50 allows 15 to be lost\n" in result.stderr
    assert all(name in result.stdout for name in tiny.result()["alone"]) and "the worst" not in result.stdout


def test_json_contains_the_resolution_of_the_images(tiny: TinyCalibration) -> None:
    result = tiny.result()
    assert (result["images_scored"], result["images_allowed"]) == (30, 15)
    assert result["resolution"] == pytest.approx(100 / 30) and result["drop_interval"] >= 100 / 30


def test_resolution_of_a_budget_below_one_image() -> None:
    assert resolution(300, 0.3) == (
        "300 images resolve 0.33 points; a budget of 0.3 allows 0 to be lost: use more images or a larger budget"
    )
    assert resolution(3191, 0.3) == "3191 images resolve 0.031 points; a budget of 0.3 allows 9 to be lost"
    assert images_allowed(1000, 0.3) == 3  # 0.3 % of 1000, in spite of rounding errors


def test_int8_bundle_proves_its_precision(tiny: TinyCalibration, tmp_path: Path) -> None:
    bundle = tmp_path / "int8.fer"
    built = fer_edge(
        "build-engine", tiny.checkpoint, "--precision", "int8", "--ranges", tiny.ranges, "--engine", "onnxruntime",
        "--engine", "openvino", "-o", bundle,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    assert "multiply-accumulates %" in built.stdout
    manifest = Bundle.open(bundle).manifest
    assert manifest.precision == "int8" and "calibration.json" in manifest.files
    assert [entry.proof["macs"]["int8"] > 0.9 for entry in manifest.engines] == [True, True]


def test_bundle_with_float_layers_is_mixed(tiny: TinyCalibration, tmp_path: Path) -> None:
    ranges = json.loads(tiny.ranges.read_text())
    (tmp_path / "float.json").write_text(json.dumps({**ranges, "float_layers": ["stem.input/Conv"]}))
    (tmp_path / "tiny.safetensors").symlink_to(tiny.checkpoint)
    recipe = tmp_path / "mixed.toml"
    recipe.write_text('checkpoint = "tiny.safetensors"\nprecision = "int8"\nranges = "float.json"\n')
    built = fer_edge("build-engine", "--recipe", recipe, "-o", tmp_path / "mixed.fer", "--json")
    assert built.returncode == 0, built.stderr
    assert json.loads(built.stdout)["manifest"]["precision"] == "mixed"


REFUSALS: list[tuple[list[str], int, str]] = [
    (["--method", "best"], 2, "--method: 'best' is not a choice; expected one of: minmax"),
    (["--layer-kind", "pool"], 2, "--layer-kind: 'pool' is not a choice; expected one of: conv"),
    (["--engine", "cuda", "--max-drop", "1"], 2, "--engine: 'cuda' is not a choice; expected one of: openvino"),
    (["--count", "8"], 1, "a calibration set of 8 images; expected at"),
    (["--max-drop", "1", "--plot", "{new}/x.foo"], 2, "expected one of: .svg, .png, .pdf"),
    (["--plot", "{new}/x.svg"], 2, "plot has no effect without a budget: add max_drop, or leave out plot"),
    (["--engine", "openvino"], 2, "engine has no effect without a budget"),
    (["--eval-count", "64"], 2, "eval_count has no effect without a budget"),
    (["--threads", "1"], 2, "threads has no effect without a budget"),
    (["--device", "0"], 2, "device has no effect without a budget"),
    (["--split", "test"], 2, "split has no effect without a budget"),
    (["--all"], 2, "--all applies only to the search; add --max-drop"),
    (["--max-drop", "nan"], 2, "nan is not a finite number from 0"),
    (["--calibration-set", "{set}", "--count", "64"], 2, "count has no effect, since the calibration set {set} exists"),
    (["--calibration-set", "{set}", "--seed", "0"], 2, "seed has no effect, since the calibration set {set} exists"),
    (["--calibration-set", "{set}", "--layout", "ferplus"], 2, "layout has no effect, since {set} names its images"),
    (["-o", "{checkpoint}"], 2, "the name of a ranges file ends in .json"),
    (["-o", "{set}", "--calibration-set", "{set}"], 2, "the output {set} is also an input"),
    (["-o", "{new}/n.json", "--calibration-set", "{new}/n.json"], 2, "out and calibration_set are one file"),
    (["--max-drop", "1", "--state", "{new}/x.json"], 2, "out and state are one file, {new}/x.json; name two"),
]


@pytest.mark.parametrize(("options", "code", "message"), REFUSALS)
def test_invalid_options_are_refused(
    options: list[str], code: int, message: str, tiny: TinyCalibration, tmp_path: Path
) -> None:
    names = {"new": tmp_path, "set": tiny.calibration_set, "checkpoint": tiny.checkpoint}
    arguments = [text.format(**names) for text in ["-o", "{new}/x.json", *options]]
    result = fer_edge("calibrate", tiny.checkpoint, tiny.data, *arguments)
    assert (result.returncode, result.stdout) == (code, "")
    assert message.format(**names) in result.stderr and "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


def test_split_of_a_folder_without_splits_is_refused(tiny: TinyCalibration, tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    result = fer_edge(
        "calibrate", tiny.checkpoint, tmp_path / "faces", "-o", tmp_path / "x.json", "--max-drop", 1, "--split", "test"
    )
    assert result.returncode == 2 and f"split has no effect: {tmp_path}/faces has no splits" in result.stderr


def test_refusals_do_not_import_torch(tiny: TinyCalibration, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom fer_edge.cli.main import run\nfrom fer_edge.errors import ConfigError\n"
        "try:\n    run(sys.argv[1:])\nexcept ConfigError as error:\n"
        "    print(error, [name for name in ('torch', 'onnx', 'openvino') if name in sys.modules])"
    )
    for arguments, message in (
        (["calibrate", tiny.checkpoint, tiny.data, "-o", tmp_path / "x.json", "--threads", 1], "threads has no effect"),
        (["build-engine", tiny.checkpoint, "--ranges", tiny.ranges], "ranges have no effect"),
    ):
        process = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=True,
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
        assert process.stdout.startswith(message) and process.stdout.endswith("[]\n"), process.stdout


def test_missing_or_foreign_ranges_are_refused(tiny: TinyCalibration, tmp_path: Path) -> None:
    result = fer_edge("build-engine", tiny.checkpoint, "--precision", "int8", "-o", tmp_path / "x.fer")
    assert result.returncode == 2 and "int8 needs activation ranges" in result.stderr
    other = tmp_path / "other.safetensors"
    tiny_checkpoint(seed=1).save(other)
    result = fer_edge("build-engine", other, "--precision", "int8", "--ranges", tiny.ranges, "-o", tmp_path / "x.fer")
    assert "tiny.json has the ranges of another checkpoint" in result.stderr


@pytest.mark.slow
def test_fallbacks_need_permission_and_are_reported(tiny: TinyCalibration, tmp_path: Path) -> None:
    half = [
        "build-engine",
        tiny.checkpoint,
        "--precision",
        "fp16",
        "--ranges",
        tiny.ranges,
        "-o",
        tmp_path / "half.fer",
    ]
    refused = fer_edge(*half)
    assert refused.returncode == 1 and "openvino does not run 31 layers in the precision" in refused.stderr
    assert not (tmp_path / "half.fer").exists()
    allowed = fer_edge(*half, "--allow-fallback")
    assert allowed.returncode == 0, allowed.stderr
    assert "openvino runs 31 layers in another precision than the graph's" in allowed.stdout


@pytest.mark.slow
def test_overflowing_model_leaves_no_file(tiny: TinyCalibration, tmp_path: Path) -> None:
    result = fer_edge(
        "calibrate", tiny.overflowing, tiny.data, "-o", tmp_path / "big.json", "--count", 48, "--calibration-set",
        tmp_path / "set.json", "--max-drop", 1,
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (1, "")
    assert "error: tensor stem." in result.stderr and "with NaN or infinity" in result.stderr
    assert not list(tmp_path.iterdir())


def test_ranges_and_set_are_written_together_or_not_at_all(tiny: TinyCalibration, tmp_path: Path) -> None:
    (tmp_path / "set.json").symlink_to(tmp_path / "missing" / "set.json")
    (tmp_path / "missing").write_text("a file, so that nothing can be written below it")
    result = fer_edge(
        "calibrate", tiny.checkpoint, tiny.data, "-o", tmp_path / "r.json", "--count", 48, "--calibration-set",
        tmp_path / "set.json",
    )  # fmt: skip
    assert result.returncode == 1 and "cannot write" in result.stderr
    assert not (tmp_path / "r.json").exists()
