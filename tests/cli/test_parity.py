"""`fer-edge parity`: outputs, tensors, and files exchanged with Polygraphy."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fer_edge.results
from fer_edge.errors import ConfigError, DataError
from fer_edge.evaluation.parity import parity
from fer_edge.export.tensor_parity import compare_tensors
from fer_edge.recognizer import shipped_bundle
from tests.command import fer_edge as command
from tests.tiny_model import tiny_checkpoint

ROOT = Path(__file__).parents[2]
DOCUMENTED = re.compile(r"^ *polygraphy ((?:.*\\\n)*.+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint, its bundle and typed ONNX, another checkpoint, and 20 images."""
    folder = tmp_path_factory.mktemp("parity")
    tiny_checkpoint().save(folder / "tiny.safetensors")
    tiny_checkpoint(seed=1).save(folder / "other.safetensors")
    built = command("build-engine", folder / "tiny.safetensors", "--engine", "onnxruntime", "-o", folder / "tiny.fer")
    assert built.returncode == 0, built.stderr
    with zipfile.ZipFile(folder / "tiny.fer") as bundle:
        bundle.extract("model.onnx", folder)
    random = np.random.default_rng(0)
    for index in range(20):
        label = ("neutral", "happiness")[index % 2]
        (folder / "faces" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (48, 48, 3), np.uint8)).save(folder / f"faces/{label}/{index}.png")
    return folder


def run_parity(folder: Path, *options: object) -> subprocess.CompletedProcess[str]:
    paths = ("--checkpoint", folder / "tiny.safetensors", "--images", folder / "faces")
    return command("parity", folder / "tiny.fer", *paths, *options)


def polygraphy(folder: Path, *arguments: object) -> str:
    """Run Polygraphy's command in a process of its own, and return what it printed."""
    code = "from polygraphy.tools import main; main()"
    words = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    result = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def stages(result: subprocess.CompletedProcess[str]) -> dict[str, bool]:
    return {stage["name"]: stage["passed"] for stage in json.loads(result.stdout)["stages"]}


def test_bundle_and_checkpoint_agree(folder: Path) -> None:
    result = run_parity(folder)
    assert result.returncode == 0, result.stderr
    assert "onnxruntime against PyTorch, 20 images" in result.stdout
    assert result.stdout.endswith("parity holds\n")
    report = json.loads(run_parity(folder, "--count", 3, "--json").stdout)
    assert (report["engine"], report["passed"], report["images"], report["saved"]) == ("onnxruntime", True, 3, [])


def test_another_checkpoint_fails(folder: Path) -> None:
    faces = folder / "faces"
    result = command("parity", folder / "tiny.fer", "--checkpoint", folder / "other.safetensors", "--images", faces)
    assert result.returncode == 1
    assert result.stdout.endswith("parity FAILS\n")
    assert "was built from another checkpoint than other.safetensors" in " ".join(result.stdout.split())


def test_polygraphy_is_one_side_of_the_comparison(folder: Path, tmp_path: Path) -> None:
    """The documented walk: inputs from fer-edge, outputs from Polygraphy, and the other way round."""
    pytest.importorskip("polygraphy")
    saved = run_parity(folder, "--save-outputs", tmp_path / "run.json")
    assert saved.returncode == 0, saved.stderr
    assert f"wrote {tmp_path / 'run.json'}" in saved.stdout
    assert f"wrote {tmp_path / 'run.inputs.json'}" in saved.stdout
    shutil.copy(folder / "model.onnx", tmp_path)
    model = ("run", "model.onnx", "--onnxrt", "--load-inputs", "run.inputs.json")
    printed = polygraphy(tmp_path, *model, "--load-outputs", "run.json", "--save-outputs", "out.json")
    assert "Passed: 3/3 iterations" in printed
    loaded = run_parity(folder, "--load-outputs", tmp_path / "out.json", "--json")
    assert loaded.returncode == 0, loaded.stdout
    assert list(stages(loaded)) == ["labels", "names", "types", "shapes", "values", "top-1 agreement", "accuracy"]
    assert json.loads(loaded.stdout)["engine"].startswith("onnxrt-runner")
    assert run_parity(folder, "--load-outputs", tmp_path / "run.json").returncode == 0


def test_changed_outputs_fail(folder: Path, tmp_path: Path) -> None:
    comparator = pytest.importorskip("polygraphy.comparator")
    run_parity(folder, "--save-outputs", tmp_path / "run.json")
    results = comparator.RunResults.load(str(tmp_path / "run.json"))
    last = results["onnxruntime"][-1]
    last["label_logits"] = last["label_logits"] * np.float32(1.01)
    (tmp_path / "changed.json").write_text(results.to_json())
    result = run_parity(folder, "--load-outputs", tmp_path / "changed.json", "--json")
    assert result.returncode == 1
    assert [name for name, passed in stages(result).items() if not passed] == ["values"]


def test_outputs_of_other_images_fail(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("polygraphy")
    run_parity(folder, "--save-outputs", tmp_path / "run.json", "--count", 5)
    fewer = run_parity(folder, "--load-outputs", tmp_path / "run.json", "--count", 4, "--json")
    assert fewer.returncode == 1 and stages(fewer) == {"labels": True, "rows": False}
    assert "5 rows of label_logits" in fewer.stdout and "expected 4, one for each image" in fewer.stdout
    (tmp_path / "faces").mkdir()
    for index in range(5):
        Image.new("RGB", (48, 48), (50 * index,) * 3).save(tmp_path / f"faces/{index}.png")
    paths = ("--checkpoint", folder / "tiny.safetensors", "--images", tmp_path / "faces")
    others = command("parity", folder / "tiny.fer", *paths, "--load-outputs", tmp_path / "run.json", "--json")
    assert others.returncode == 1 and stages(others)["inputs"] is False


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--plot", "x.svg"), 2, "--plot applies only to what --per-tensor compares; add --per-tensor"),
        (("--threshold", 20), 2, "--threshold applies only to what --per-tensor compares; add --per-tensor"),
        (("--reference-bundle", "x.fer"), 2, "--reference-bundle applies only to what --per-tensor compares"),
        (("--all",), 2, "--all applies only to what --per-tensor compares; add --per-tensor"),
        (
            ("--per-tensor", "--tolerance", 1),
            2,
            "--tolerance applies only to outputs, which --per-tensor does not compare",
        ),
        (("--per-tensor", "--load-outputs", "x.json"), 2, "--load-outputs applies only to outputs, which --per-tensor"),
        (("--per-tensor", "--threshold", "inf"), 2, "inf is not a finite number from 0"),
        (("--per-tensor", "--threshold", "-1"), 2, "-1 is not a finite number from 0"),
        (("--per-tensor", "--reference-bundle", "edge"), 2, "expected one reference"),
        (("--tolerance", "nan"), 2, "nan is not a finite number from 0"),
        (("--tolerance", "-1"), 2, "-1 is not a finite number from 0"),
        (("--engine", "onnx"), 2, "--engine"),
        (("--save-outputs", "run"), 2, "the outputs file is run; expected a name that ends in .json"),
        (("--load-outputs", "none.json"), 1, "cannot read none.json: No such file or directory"),
        (("--load-outputs", "none.json", "--engine", "onnxruntime"), 2, "loaded outputs replace those of the engine"),
        (("--load-outputs", "none.json", "--save-outputs", "x.json"), 2, "loaded outputs replace those of the engine"),
    ],
)
def test_wrong_usage_is_refused(options: tuple[object, ...], code: int, message: str, folder: Path) -> None:
    result = run_parity(folder, *options)
    assert result.returncode == code, result.stderr
    assert message in result.stderr


def test_outputs_do_not_replace_an_input(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("polygraphy")
    images = tmp_path / "run.inputs.json"
    images.mkdir()
    paths = ("--checkpoint", folder / "tiny.safetensors", "--images", images)
    result = command("parity", folder / "tiny.fer", *paths, "--save-outputs", tmp_path / "run.json")
    assert result.returncode == 2
    assert f"the output {images} is also an input" in result.stderr


def test_checkpoint_and_images_are_required(folder: Path) -> None:
    missing = command("parity", folder / "tiny.fer", "--images", folder / "faces")
    assert missing.returncode == 2 and "--checkpoint is missing" in missing.stderr
    missing = command("parity", folder / "tiny.fer", "--checkpoint", folder / "tiny.safetensors")
    assert missing.returncode == 2 and "--images" in missing.stderr


def test_per_tensor_compares_with_the_fp32_graph(folder: Path) -> None:
    result = run_parity(folder, "--per-tensor", "--count", 4, "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["engine"] == "onnxruntime" and report["first"] is None
    assert report["tensors"][-1]["name"] == "probabilities"


def test_per_tensor_names_the_first_diverged_tensor(folder: Path) -> None:
    options = ("--per-tensor", "--reference-bundle", folder / "tiny.fer", "--images", folder / "faces", "--count", 4)
    equal = command("parity", folder / "tiny.fer", *options, "--all", "--plot", folder / "tensors.svg")
    assert equal.returncode == 0 and "against tiny.fer, 4 images" in equal.stdout
    assert "stem/Cast" in equal.stdout and "probabilities" in equal.stdout
    assert "probabilities" in (folder / "tensors.svg").read_text()
    diverged = command("parity", folder / "tiny.fer", *options, "--threshold", 250)  # equal tensors have 200 dB
    assert diverged.returncode == 1
    assert "first to diverge: stem/Cast, 200.0 dB; expected at least 250 dB" in diverged.stdout
    assert re.search(r"the worst 10 of \d+ tensors; --all lists every one", diverged.stderr)


def test_results_of_the_python_calls_print_as_tables(folder: Path) -> None:
    paths = (str(folder / "tiny.fer"), str(folder / "tiny.safetensors"), str(folder / "faces"))
    titles: list[str] = []

    def progress(title: str, total: int) -> object:
        titles.append(f"{title} {total}")
        return fer_edge.progress.silent(title, total)

    report = parity(*paths, count=4, progress=progress)  # type: ignore[arg-type]
    assert report and report.engine == "onnxruntime" and titles == ["comparing 4"]
    tensors = compare_tensors(*paths, count=2)
    assert tensors and len(tensors.tensors) > 80
    for result, verdict in ((report, "parity holds"), (tensors, "the signal-to-error ratio of every tensor is at")):
        assert max(map(len, str(result).splitlines())) <= fer_edge.results.WIDTH
        assert str(result).splitlines()[-1].startswith(verdict)
        assert json.loads(result.to_json()) == result.to_dict()


def test_wrong_arguments_of_the_python_calls_are_refused(folder: Path, tmp_path: Path) -> None:
    paths = (folder / "tiny.fer", folder / "tiny.safetensors", folder / "faces")
    with pytest.raises(ConfigError, match="loaded outputs replace those of the engine"):
        parity(*paths, load_outputs=tmp_path / "x.json", device=1)
    with pytest.raises(DataError, match=r"cannot read .*x\.json"):
        parity(*paths, load_outputs=tmp_path / "x.json")
    with pytest.raises(ConfigError, match="expected one reference: a checkpoint or a reference bundle"):
        compare_tensors(paths[0], None, paths[2])


def documented_commands() -> list[tuple[str, list[list[str]]]]:
    """Return Polygraphy's commands of each guide, without those that need a GPU."""
    pages = []
    for page in sorted((ROOT / "docs").rglob("*.md")):
        texts = (text.replace("\\\n", " ") for text in DOCUMENTED.findall(page.read_text()))
        lines = [shlex.split(text, comments=True) for text in texts]
        if lines:
            pages.append((page.name, [words for words in lines if "--trt" not in words]))
    return pages


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "lines"), documented_commands(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_documented_polygraphy_commands_run(page: str, lines: list[list[str]], tmp_path: Path) -> None:
    pytest.importorskip("polygraphy")
    with zipfile.ZipFile(shipped_bundle()) as bundle:
        model = bundle.read("model.onnx")
    for name in ("model.onnx", "fp32.onnx", "int8.onnx"):
        (tmp_path / name).write_bytes(model)
    if any("run.inputs.json" in words for words in lines):
        saved = command(
            "parity",
            "edge",
            "--checkpoint",
            "edge",
            "--images",
            ROOT / "tests",
            "--save-outputs",
            tmp_path / "run.json",
        )
        assert saved.returncode == 0, saved.stderr
    for words in lines:
        polygraphy(tmp_path, *words)
