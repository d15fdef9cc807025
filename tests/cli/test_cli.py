"""The command line from build to evaluation: exit codes, messages, JSON, and paths in pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_edge.cli.main import COMMANDS
from fer_edge.cli.option_checks import parse_box
from tests.command import fer_edge
from tests.synthetic import smooth_frame
from tests.tiny import tiny_bundle
from tests.tiny_model import tiny_checkpoint

FULL = Path("/dev/full")
CODE = "from fer_edge.cli.main import main; main()"


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    folder = tmp_path / "faces"
    rng = np.random.default_rng(0)
    for label in ("neutral", "happiness"):
        (folder / label).mkdir(parents=True)
        for index in range(4):
            pixels = rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{index}.png")
    return folder


def test_exit_codes_and_messages(tmp_path: Path) -> None:
    assert fer_edge("--version").stdout.startswith("fer-edge 0.")
    cases: list[tuple[list[object], int, str]] = [
        (["nonsense"], 2, "no command 'nonsense'"),
        (["predict"], 2, "missing IMAGES"),
        (["predict", "x.png", "--box", "1,2"], 2, "expected X,Y,W,H"),
        (["predict", tmp_path / "none.png"], 1, "error: no file or folder at"),
        (["inspect", tmp_path / "none.fer"], 1, "error: no file at"),
        (["evaluate", tmp_path / "x.txt", tmp_path], 1, "no file at"),
        (["build-engine"], 2, "no checkpoint"),
    ]
    for arguments, code, message in cases:
        result = fer_edge(*arguments)
        assert result.returncode == code, result.stderr
        assert message in result.stderr
        assert "Traceback" not in result.stderr + result.stdout


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["doctor"], ["doctor", "--json"]])
def test_full_disk_is_reported_on_one_line(arguments: list[str]) -> None:
    with FULL.open("w") as full:
        result = subprocess.run(
            [sys.executable, "-c", CODE, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert result.returncode == 1
    assert result.stderr == "error: cannot write the output: No space left on device\n"


def test_closed_pipe_prints_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [sys.executable, "-c", CODE, "--help"], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (result.returncode, result.stderr) == (1, "")


@pytest.mark.slow
def test_build_parity_bench_evaluate_inspect(tmp_path: Path, faces: Path) -> None:
    checkpoint, bundle = tmp_path / "tiny.safetensors", tmp_path / "tiny.fer"
    tiny_checkpoint().save(checkpoint)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('checkpoint = "tiny.safetensors"\nengines = ["onnxruntime"]\nmax_batch = 8\n')
    built = fer_edge("build-engine", "--recipe", recipe, "-o", bundle, "--json")
    assert json.loads(built.stdout)["manifest"]["max_batch"] == 8, built.stderr
    compared = fer_edge("parity", bundle, "--checkpoint", checkpoint, "--images", faces, "--json")
    assert compared.returncode == 0, compared.stderr
    stages = {stage["name"]: stage["passed"] for stage in json.loads(compared.stdout)["stages"]}
    assert list(stages) == ["labels", "names", "types", "shapes", "values", "top-1 agreement", "accuracy"]
    timed = json.loads(fer_edge("bench", bundle, "--queries", 20, "--seconds", 0.2, "--json").stdout)
    assert timed["single_stream"]["latency"]["count"] >= 20
    assert [entry["batch"] for entry in timed["batches"]] == [1, 2, 4, 8]
    for model in (bundle, checkpoint):
        scored = json.loads(fer_edge("evaluate", model, faces, "--json").stdout)
        assert scored["images"] == 8
        assert json.loads(fer_edge("inspect", model, "--json").stdout)["labels"][0] == "neutral"
    other = tmp_path / "other.safetensors"
    tiny_checkpoint(seed=1).save(other)
    failed = fer_edge("parity", bundle, "--checkpoint", other, "--images", faces)
    assert failed.returncode == 1
    assert "parity FAILS" in failed.stdout
    quick = ("bench", bundle, "--queries", 20, "--seconds", 0.1, "--scenario", "single-stream", "--images", faces)
    assert "parity holds" in fer_edge(*quick, "--checkpoint", checkpoint).stdout
    both = fer_edge(*quick, "--checkpoint", other, "--json")
    assert both.returncode == 1
    report = json.loads(both.stdout)
    assert report["single_stream"] and not all(stage["passed"] for stage in report["parity"]["stages"])


def test_recipe_with_wrong_setting_is_refused(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text("precison = 'fp16'\n")
    result = fer_edge("build-engine", "--recipe", recipe)
    assert result.returncode == 2 and "precison" in result.stderr and "did you mean precision?" in result.stderr
    recipe.write_text("max_batch = 'eight'\n")
    result = fer_edge("build-engine", "--recipe", recipe)
    assert result.returncode == 2 and "max_batch" in result.stderr and "'eight'" in result.stderr


def test_predict_continues_after_a_bad_image(tmp_path: Path, faces: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"bad")
    result = fer_edge("predict", faces, bad, "--crop", "--bundle", tiny_bundle(tmp_path / "t.fer"), "--json")
    assert result.returncode == 1
    assert "bad.png is not an image" in result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(lines) == 9
    assert len(lines[0]["people"]) == 1 and not lines[-1]["people"]
    assert "error" not in lines[0] and lines[-1]["error"].startswith(f"{bad} is not an image")


def test_doctor_lists_engines_as_json() -> None:
    report = json.loads(fer_edge("doctor", "--json").stdout)
    states = {entry["engine"]: entry for entry in report["engines"]}
    assert states["openvino"]["can_run"]
    gpus = (report["nvidia"]["driver"] or {}).get("gpus", [])
    if not gpus:
        assert not states["tensorrt-rtx"]["can_run"] and states["tensorrt-rtx"]["reason"]
        assert all(finding["problem"] and finding["remedy"] for finding in report["nvidia"]["findings"])
        assert report["nvidia"]["findings"]


def test_parse_box() -> None:
    assert parse_box(None) is None
    assert parse_box("1,2.5,3,4") == (1, 2.5, 3, 4)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are always text here")
@pytest.mark.parametrize(
    ("name", "encoding", "shown"),
    [("bad\udcff.png", "utf-8:strict", "bad\\udcff.png"), ("naïve.png", "ascii:strict", "na\\xefve.png")],
)
def test_file_name_that_cannot_be_encoded_is_escaped(tmp_path: Path, name: str, encoding: str, shown: str) -> None:
    image = tmp_path / name
    Image.fromarray(smooth_frame()).save(os.fsencode(image), "PNG")  # noise would give a warning
    arguments: list[bytes | str | Path] = [os.fsencode(image), "--crop", "--bundle", tiny_bundle(tmp_path / "t.fer")]
    result = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", CODE, "predict", *arguments],
        env={**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert shown in result.stdout


def test_every_command_is_in_the_root_help() -> None:
    text = fer_edge("--help").stdout
    assert all(command.split()[0] in text for command in COMMANDS)
