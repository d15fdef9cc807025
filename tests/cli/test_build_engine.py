"""`fer-edge build-engine`: options, recipes and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fer_edge.bundle import Bundle
from fer_edge.engines.base import BuildRequest
from fer_edge.engines.registry import get_engine
from tests.calibration.tiny_ranges import TinyCalibration
from tests.command import fer_edge
from tests.tiny import tiny_bundle
from tests.tiny_model import tiny_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tiny_calibration: TinyCalibration) -> Path:
    return tiny_calibration.checkpoint


@pytest.mark.slow
def test_options_override_the_recipe(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed; it has wheels for x86-64 only")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'checkpoint = "{checkpoint}"\nengines = ["tensorrt-rtx"]\ngpu_archs = ["sm89"]\nmax_batch = 4\n'
        "[options.tensorrt-rtx]\noptimal_batches = [1, 4]\noptimization_level = 1\n"
    )
    flag = ["--set", "tensorrt-rtx.optimal_batches=4"]
    result = fer_edge("build-engine", "--recipe", recipe, "-o", tmp_path / "a.fer", "--json", *flag)
    assert result.returncode == 0, result.stderr
    # Without a terminal, a line is printed every 30 s.
    assert all(line.startswith("building from") for line in result.stderr.splitlines())
    assert json.loads(result.stdout)["manifest"]["precision"] == "fp32"
    bundle = Bundle.open(tmp_path / "a.fer")
    assert bundle.entry().options == {"optimal_batches": 4, "optimization_level": 1}
    expected_sizes = []
    for batches in ([4], [1, 4]):
        options = {"optimal_batches": batches, "optimization_level": 1}
        request = BuildRequest("fp32", ("sm89",), 4, options)
        expected_sizes.append(len(get_engine("tensorrt-rtx").build(bundle.read("model.onnx"), request).file or b""))
    size = bundle.manifest.files["engines/tensorrt-rtx-sm89.engine"]["size"]
    assert abs(size - expected_sizes[0]) < 0.1 * size < abs(size - expected_sizes[1])


@pytest.mark.parametrize(
    ("setting", "code", "message"),
    [
        ("tensorrt-rtx.weights", 2, "expected ENGINE.NAME=VALUE"),
        ("weights=stripped", 2, "expected ENGINE.NAME=VALUE"),
        ("tensorrt.tf32=true", 2, "options for tensorrt, which is not built; engines are tensorrt-rtx"),
        ("tensorrt-rtx.tf33=true", 2, "options.tf33 is not known; did you mean options.tf32?"),
        ("tensorrt-rtx.weights=some", 2, "weights is 'some'; expected one of: inside, stripped"),
        ("tensorrt-rtx.timing_cache=x", 1, "has no timing_cache; leave it out"),
    ],
)
def test_invalid_settings_are_refused(checkpoint: Path, tmp_path: Path, setting: str, code: int, message: str) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed; it has wheels for x86-64 only")
    out = tmp_path / "a.fer"
    result = fer_edge("build-engine", checkpoint, "--engine", "tensorrt-rtx", "--set", setting, "-o", out)
    assert (result.returncode, result.stdout) == (code, "")
    assert message in " ".join(result.stderr.split())
    assert not out.exists()


def test_settings_of_an_engine_without_options_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    result = fer_edge("build-engine", checkpoint, "--set", "openvino.level=1", "-o", tmp_path / "a.fer")
    assert "openvino has no build option 'level'; it takes none" in result.stderr
    recipe = tmp_path / "r.toml"
    recipe.write_text("[options]\ntf32 = true\n")
    result = fer_edge("build-engine", checkpoint, "--recipe", recipe)
    assert "options.tf32 is True; expected a table of names and values" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "recipe", "message"),
    [
        (["--gpu-arch", "sm89"], "", "gpu_archs sm89 have no effect: openvino builds for CPUs; leave them out"),
        (["--engine", "openvino", "--engine", "openvino"], "", "engine openvino is named twice"),
        (
            ["--float-precision", "fp16"],
            "",
            "float_precision has no effect: it is for int8, and the precision is fp32; leave it out, or",
        ),
        (
            ["--float-precision", "fp32"],
            "",
            "float_precision has no effect: it is for int8, and the precision is fp32; leave it out, or",
        ),
        (
            ["--float-precision", "fp31"],
            "",
            "--float-precision: 'fp31' is not a choice; expected one of: fp32, fp16; did you mean fp32?",
        ),
        (
            ["--precision", "fp23"],
            "",
            "--precision: 'fp23' is not a choice; expected one of: fp32, fp16, int8; did you mean fp32?",
        ),
        ([], 'precision = "int4"', "precision is 'int4'; expected one of: fp32, fp16, int8"),
        (
            ["--ranges", "r.toml"],
            "",
            "ranges have no effect: they are for int8 and fp16, and the precision is fp32; leave them",
        ),
        (
            [],
            'ranges = "a.json"',
            "ranges have no effect: they are for int8 and fp16, and the precision is fp32; leave them",
        ),
        ([], "engines = []", "no engine to build; expected some of: openvino, onnxruntime"),
        ([], "max_batch = true", "max_batch is True; expected a whole number"),
        ([], "engines = [1]", "engines[0] is 1; expected a string"),
        ([], 'engines = ["opnvino"]', "r.toml: no engine 'opnvino'; expected one of: openvino, onnxruntime"),
        ([], "max_bach = 8", "max_bach is not known; did you mean max_batch?"),
        ([], 'targets = ["sm89"]', "targets is not known"),
    ],
)
def test_invalid_options_and_recipes_are_refused(
    checkpoint: Path, tmp_path: Path, arguments: list[str], recipe: str, message: str
) -> None:
    (tmp_path / "r.toml").write_text(recipe)
    out = tmp_path / "a.fer"
    result = fer_edge("build-engine", checkpoint, "--recipe", tmp_path / "r.toml", "-o", out, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr and "Traceback" not in result.stderr
    assert not out.exists()


def test_bundle_and_checkpoint_in_the_wrong_place_are_named(checkpoint: Path, tmp_path: Path) -> None:
    benched = fer_edge("bench", checkpoint)
    assert benched.returncode == 1
    assert "tiny.safetensors is a fer-edge checkpoint; build a bundle from it: fer-edge build-engine" in benched.stderr
    bundle = tiny_bundle(tmp_path / "a.fer")
    built = fer_edge("build-engine", bundle, "-o", tmp_path / "b.fer")
    assert built.returncode == 1
    assert "a.fer is a bundle; name the checkpoint it was built from (.safetensors)" in built.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("noext", "the output is {out}; the name of a bundle ends in .fer: {folder}/noext.fer"),
        ("m.pth", "the output is {out}; the name of a bundle ends in .fer: {folder}/m.fer"),
        ("m.FER", "the output is {out}; the name of a bundle ends in .fer: {folder}/m.fer"),
        ("folder.fer", "the output {out} is a folder; name a file"),
    ],
)
def test_outputs_with_another_suffix_are_refused(checkpoint: Path, tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.fer").mkdir()
    out, bundle = tmp_path / name, tiny_bundle(tmp_path / "a.fer")
    for command in (["build-engine", checkpoint], ["bundle", "add-engine", bundle, "--engine", "openvino"]):
        result = fer_edge(*command, "-o", out)
        assert result.returncode == 2 and message.format(out=out, folder=tmp_path) in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.fer", "folder.fer"]


def test_input_is_not_overwritten(tmp_path: Path) -> None:
    source = tmp_path / "model.fer"  # a checkpoint under the name of a bundle
    tiny_checkpoint().save(tmp_path / "model.safetensors")
    source.symlink_to("model.safetensors")
    before = source.read_bytes()
    by_recipe = tmp_path / "recipe.toml"
    by_recipe.write_text('checkpoint = "model.safetensors"\n')
    for arguments in ([tmp_path / "model.safetensors"], ["--recipe", by_recipe]):
        result = fer_edge("build-engine", *arguments, "-o", source)
        assert (result.returncode, result.stdout) == (2, "")
        assert f"the output {source} is also an input; name another file to write" in result.stderr
    assert source.read_bytes() == before


def test_another_precision_drops_the_settings_for_int8(checkpoint: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "int8.toml"
    recipe.write_text(
        f'checkpoint = "{checkpoint}"\nprecision = "int8"\nranges = "gone.json"\nfloat_precision = "fp16"\n'
    )
    built = fer_edge("build-engine", "--recipe", recipe, "--precision", "fp32", "-o", tmp_path / "a.fer")
    assert built.returncode == 0, built.stderr
    table = built.stdout.splitlines()
    assert Bundle.open(tmp_path / "a.fer").manifest.precision == "fp32"
    assert sum("openvino" in line and "fp32" in line and "100.0" in line for line in table) == 1
    assert not any("int8" in line for line in table)


def test_overflowing_model_is_refused(tiny_calibration: TinyCalibration, tmp_path: Path) -> None:
    result = fer_edge("build-engine", tiny_calibration.overflowing, "-o", tmp_path / "big.fer")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("error: the model gives NaN or infinity") and result.stderr.count("\n") == 1
    assert not (tmp_path / "big.fer").exists()
