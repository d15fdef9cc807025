"""Builder options, by the same names in a recipe and on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fer_edge.bundle import Bundle
from fer_edge.engines.base import BuildRequest
from fer_edge.engines.registry import get_engine
from tests.command import fer_edge
from tests.tiny import tiny_bundle
from tests.tiny_model import overflowing_checkpoint, tiny_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    tiny_checkpoint().save(path)
    return path


def test_flags_win_over_the_recipes_options(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed; it has wheels for x86-64 only")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'checkpoint = "{checkpoint}"\nengines = ["tensorrt-rtx"]\ntargets = ["sm89"]\nmax_batch = 4\n'
        "[options.tensorrt-rtx]\noptimal_batches = [1, 4]\noptimization_level = 1\n"
    )
    flag = ["--option", "tensorrt-rtx.optimal_batches=4"]
    found = fer_edge("build-engine", "--recipe", recipe, "-o", tmp_path / "a.fer", "--json", *flag)
    assert found.returncode == 0, found.stderr
    # Without a terminal there is a line every 30 s, on a slow machine.
    assert all(line.startswith("building tensorrt-rtx from") for line in found.stderr.splitlines())
    assert json.loads(found.stdout)["manifest"]["precision"] == "fp32"
    bundle = Bundle.open(tmp_path / "a.fer")
    assert bundle.entry().options == {"optimal_batches": 4, "optimization_level": 1}
    by_hand = []
    for batches in ([4], [1, 4]):
        options = {"optimal_batches": batches, "optimization_level": 1}
        request = BuildRequest("fp32", ("sm89",), 4, options)
        by_hand.append(len(get_engine("tensorrt-rtx").build(bundle.read("model.onnx"), request).file or b""))
    size = bundle.manifest.files["engines/tensorrt-rtx-sm89.engine"]["size"]
    assert abs(size - by_hand[0]) < 0.1 * size < abs(size - by_hand[1])


@pytest.mark.parametrize(
    ("option", "code", "message"),
    [
        ("tensorrt-rtx.weights", 2, "expected ENGINE.NAME=VALUE"),
        ("weights=stripped", 2, "expected ENGINE.NAME=VALUE"),
        ("tensorrt.tf32=true", 2, "options for tensorrt, which is not built; engines are tensorrt-rtx"),
        ("tensorrt-rtx.tf33=true", 2, "options.tf33 is not known; did you mean options.tf32?"),
        ("tensorrt-rtx.weights=some", 2, "weights is 'some'; expected one of: inside, stripped"),
        ("tensorrt-rtx.timing_cache=x", 1, "has no timing_cache; leave it out"),
    ],
)
def test_options_that_cannot_be_are_named(
    checkpoint: Path, tmp_path: Path, option: str, code: int, message: str
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed; it has wheels for x86-64 only")
    out = tmp_path / "a.fer"
    found = fer_edge("build-engine", checkpoint, "--engine", "tensorrt-rtx", "--option", option, "-o", out)
    assert (found.returncode, found.stdout) == (code, "")
    assert message in " ".join(found.stderr.split())
    assert not out.exists()


def test_engines_without_options_say_so(checkpoint: Path, tmp_path: Path) -> None:
    found = fer_edge("build-engine", checkpoint, "--option", "openvino.level=1", "-o", tmp_path / "a.fer")
    assert "openvino has no build option 'level'; it takes none" in found.stderr
    recipe = tmp_path / "r.toml"
    recipe.write_text("[options]\ntf32 = true\n")
    found = fer_edge("build-engine", checkpoint, "--recipe", recipe)
    assert "options.tf32 is True; expected a table of names and values" in found.stderr


@pytest.mark.parametrize(
    ("arguments", "recipe", "message"),
    [
        (["--target", "sm89"], "", "targets sm89 are GPUs, and openvino builds for CPUs alone: leave the targets out"),
        (["--engine", "openvino", "--engine", "openvino"], "", "engine openvino is named twice"),
        (
            ["--float-precision", "fp16"],
            "",
            "float_precision is for int8 alone, and the precision is fp32; leave it out, or choose int8",
        ),
        (
            ["--float-precision", "fp32"],
            "",
            "float_precision is for int8 alone, and the precision is fp32; leave it out, or choose int8",
        ),
        (
            ["--float-precision", "fp31"],
            "",
            "no float precision 'fp31'; expected one of: fp32, fp16; did you mean fp32?",
        ),
        (["--precision", "fp23"], "", "no precision 'fp23'; expected one of: fp32, fp16, int8; did you mean fp32?"),
        ([], 'precision = "int4"', "precision is 'int4'; expected fp32, fp16 or int8; did you mean int8?"),
        (["--ranges", "r.toml"], "", "ranges are for int8 and fp16, and the precision is fp32: leave them out, or ask"),
        (
            [],
            'ranges = "a.json"',
            "ranges are for int8 and fp16, and the precision is fp32: leave them out, or ask for",
        ),
        ([], "engines = []", "no engine to build; expected some of: openvino, onnxruntime"),
        ([], "max_batch = true", "max_batch is True; expected a whole number"),
        ([], "engines = [1]", "engines[0] is 1; expected a string"),
        ([], "max_bach = 8", "max_bach is not known; did you mean max_batch?"),
    ],
)
def test_what_cannot_be_built_is_refused(
    checkpoint: Path, tmp_path: Path, arguments: list[str], recipe: str, message: str
) -> None:
    (tmp_path / "r.toml").write_text(recipe)
    out = tmp_path / "a.fer"
    found = fer_edge("build-engine", checkpoint, "--recipe", tmp_path / "r.toml", "-o", out, *arguments)
    assert (found.returncode, found.stdout) == (2, "")
    assert message in found.stderr and "Traceback" not in found.stderr
    assert not out.exists()


def test_bundles_and_checkpoints_in_each_others_place_are_told(checkpoint: Path, tmp_path: Path) -> None:
    inspected = fer_edge("bench", checkpoint)
    assert inspected.returncode == 1
    assert (
        "tiny.safetensors is a fer-edge checkpoint; make a bundle of it with: fer-edge build-engine" in inspected.stderr
    )
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
def test_an_output_that_other_commands_would_not_take_is_refused(
    checkpoint: Path, tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "folder.fer").mkdir()
    out, bundle = tmp_path / name, tiny_bundle(tmp_path / "a.fer")
    for command in (["build-engine", checkpoint], ["add-engine", bundle, "--engine", "openvino"]):
        found = fer_edge(*command, "-o", out)
        assert found.returncode == 2 and message.format(out=out, folder=tmp_path) in found.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.fer", "folder.fer"]


def test_an_input_is_not_written_over(tmp_path: Path) -> None:
    source = tmp_path / "model.fer"  # a checkpoint under the name of a bundle
    tiny_checkpoint().save(tmp_path / "model.safetensors")
    source.symlink_to("model.safetensors")
    before = source.read_bytes()
    by_recipe = tmp_path / "recipe.toml"
    by_recipe.write_text('checkpoint = "model.safetensors"\n')
    for arguments in ([tmp_path / "model.safetensors"], ["--recipe", by_recipe]):
        found = fer_edge("build-engine", *arguments, "-o", source)
        assert (found.returncode, found.stdout) == (2, "")
        assert f"the output {source} is also an input; name another file to write" in found.stderr
    assert source.read_bytes() == before


def test_a_flag_for_another_precision_drops_what_the_recipe_says_for_int8(checkpoint: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "int8.toml"
    recipe.write_text(f'checkpoint = "{checkpoint}"\nprecision = "int8"\nranges = "gone.json"\nrest = "fp16"\n')
    built = fer_edge("build-engine", "--recipe", recipe, "--precision", "fp32", "-o", tmp_path / "a.fer")
    assert built.returncode == 0, built.stderr
    table = built.stdout.splitlines()
    assert Bundle.open(tmp_path / "a.fer").manifest.precision == "fp32"
    assert sum("openvino" in line and "fp32" in line and "100.0" in line for line in table) == 1
    assert not any("int8" in line for line in table), "the input's conversion multiplies nothing"


def test_a_model_that_gives_no_numbers_is_refused(tmp_path: Path) -> None:
    overflowing_checkpoint().save(tmp_path / "big.safetensors")
    found = fer_edge("build-engine", tmp_path / "big.safetensors", "-o", tmp_path / "big.fer")
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr.startswith("error: the model gives NaN or infinity") and found.stderr.count("\n") == 1
    assert not (tmp_path / "big.fer").exists()
