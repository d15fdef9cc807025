"""Documentation: links, code blocks, and every command in them."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import skimage.data
import typer
from PIL import Image

import fer_edge
from fer_edge.cli.main import app
from fer_edge.export.recipe import read_recipe
from fer_edge.labels import FERPLUS
from fer_edge.live.outputs.mapping import read_mapping
from fer_edge.shipped import shipped_file
from tests import command
from tests.made_once import made_once
from tests.tiny_model import tiny_checkpoint
from tests.video.clips import write_clip

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "benchmarks" / "README.md",
    ROOT / "examples" / "README.md",
    ROOT / "fer_edge" / "weights" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
BLOCK = re.compile(
    r'^(?P<indent> *)```(?P<language>\w*)(?: title="(?P<title>[^"]*)")?\n(?P<text>.*?)^(?P=indent)```$', re.M | re.S
)
SNIPPET = re.compile(r'^--8<-- "([^":]+):(\w+)"$', re.M)


@dataclass(frozen=True)
class Block:
    """A fenced code block of a page."""

    page: str
    language: str
    title: str  # what a command needs that the tests lack: "needs an NVIDIA GPU"; empty: the tests run it
    text: str


def blocks(page: Path, language: str) -> list[Block]:
    found = BLOCK.finditer(page.read_text())
    return [
        Block(page.name, language, match["title"] or "", re.sub(rf"^{match['indent']}", "", match["text"], flags=re.M))
        for match in found
        if match["language"] == language
    ]


def commands(block: Block) -> Iterator[str]:
    """Yield the commands of a shell block, with continued lines joined and comments removed."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield line


ALL = [(page, block) for page in PAGES for block in blocks(page, "sh")]
PYTHON = [(page, block) for page in PAGES for block in blocks(page, "python")]


def _fer_edge_words(block: Block) -> Iterator[list[str]]:
    for line in commands(block):
        words = shlex.split(line, comments=True)
        if words[0] == "fer-edge":
            yield words[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_of_all_commands_exist(page: Path) -> None:
    for block in blocks(page, "sh"):
        for words in _fer_edge_words(block):
            _parse(words)
            if "--precision" in words and words[words.index("--precision") + 1] != "fp32":
                assert "--ranges" in words, words


def _parse(words: list[str]) -> None:
    """Parse a command line as the command does, without running it."""
    group: Any = typer.main.get_command(app)
    context = group.make_context("fer-edge", [words[0]], resilient_parsing=True)
    name, *rest = words
    parsed = group.get_command(context, name)
    if name in ("bundle", "checkpoint"):
        context = parsed.make_context(name, [rest[0]], parent=context, resilient_parsing=True)
        parsed, name, rest = parsed.get_command(context, rest[0]), rest[0], rest[1:]
    assert parsed is not None, words
    parsed.make_context(name, list(rest), parent=context)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.parent.name != "benchmarks"], ids=lambda page: page.name
)
def test_commands_name_no_file_of_a_clone(page: Path) -> None:
    for block in blocks(page, "sh"):
        for words in _fer_edge_words(block):
            assert not [word for word in words if "/" in word and (ROOT / word).exists()], words


def test_internal_links_lead_to_files() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize(("page", "block"), PYTHON, ids=lambda value: getattr(value, "name", ""))
def test_python_blocks_import_what_exists(page: Path, block: Block) -> None:
    assert "8 <" not in block.text, "a formatter changed the line that includes a file"

    def included(match: re.Match[str]) -> str:
        text = (ROOT / match[1]).read_text()
        return text.split(f"[start:{match[2]}]\n")[1].rsplit(f"# --8<-- [end:{match[2]}]", 1)[0]

    tree = compile(
        SNIPPET.sub(included, block.text), block.page, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    )
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "fer_edge":
            assert {alias.name for alias in node.names} <= set(fer_edge.__all__)


def test_toml_blocks_are_build_recipes_and_mappings(tmp_path: Path) -> None:
    texts = [block for page in PAGES for block in blocks(page, "toml")]
    assert {block.title for block in texts} == {"", "a mapping"}
    for block in texts:
        path = tmp_path / "file.toml"
        path.write_text(block.text)
        if block.title:
            read_mapping(str(path), FERPLUS.labels)
        else:
            read_recipe(path)


def test_titles_of_commands_that_are_not_run() -> None:
    titles = {block.title for _, block in ALL} - {""}
    assert titles <= {
        "needs an NVIDIA GPU",
        "on a Jetson",
        "needs a browser",
        "needs a camera",
        "needs a network",
        "needs Docker and a network",
        "needs Ray",
        "needs Triton",
        "needs a quiet machine",
        "needs PyInstaller",
        "needs ROS 2",
        "needs FERPlus and takes hours",
        "takes hours",
        "runs in CI",
        "runs until Ctrl-C",
        "with the server running",  # tests/serve/test_guide.py
        "needs a cluster",
    }


@pytest.fixture(scope="module")
def files(ferplus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files that the commands of all pages name."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            _make_files(folder, ferplus)

    return made_once(tmp_path_factory, "files of the documentation", make)


def _make_files(folder: Path, ferplus: Path) -> None:
    tiny_checkpoint().save(folder / "model.safetensors")
    shutil.copy(shipped_file("checkpoint", "edge"), folder / "edge.safetensors")
    Image.fromarray(skimage.data.astronaut()).save(folder / "photo.jpg")
    write_clip(folder / "clip.mp4", [skimage.data.astronaut()] * 3)
    # Calibration needs 32 images, and the temperature is fitted on 50, which are half of the validation split.
    for split, count in (("Train", 12), ("Valid", 12)):
        copy_of_ferplus(ferplus / f"FER2013{split}", folder / "ferplus" / f"FER2013{split}", count)
    faces = sorted((folder / "ferplus" / "FER2013Valid").glob("*.png"))
    for index, face in enumerate(faces[:64]):
        for copy in (
            folder / "faces" / face.name,
            folder / "my-faces" / ("train", "valid")[index % 2] / ("calm", "smile")[index // 2 % 2] / face.name,
        ):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(face, copy)
    engines = ["--engine", "openvino", "--engine", "onnxruntime"]
    assert command.fer_edge("build-engine", "model.safetensors", *engines, "-o", "model.fer").returncode == 0
    for bundle in ("edge.fer", "old.fer", "new.fer"):
        shutil.copy("model.fer", bundle)  # the tiny model: the commands are tested here, not the engine's speed
    ranges = command.fer_edge("calibrate", "model.safetensors", "ferplus", "-o", "ranges.json")
    assert ranges.returncode == 0, ranges.stderr


def copy_of_ferplus(source: Path, target: Path, count: int) -> None:
    """Copy images of one split of FERPlus, `count` of each class or as many as there are."""
    target.mkdir(parents=True)
    lines, taken = [], Counter[int]()
    for line in (source / "label.csv").read_text().splitlines():
        name, votes = line.split(",")[0], [int(vote) for vote in line.rsplit('"', 1)[1].split(",")[1:]]
        label = votes.index(max(votes))
        if taken[label] < count and max(votes) > sum(votes) / 2:
            taken[label] += 1
            lines.append(line)
            shutil.copy(source / name, target / name)
    (target / "label.csv").write_text("\n".join(lines) + "\n")


# Options of commands that measure time: a test needs no result of the default length.
SHORTER = {"bench": ("--seconds", "0.5"), "compare": ("--rounds", "6")}


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.name, marks=pytest.mark.xdist_group(f"documentation: {page.name}"))
        for page in PAGES
        if any(not block.title for block in blocks(page, "sh"))
    ],
)
def test_commands_run(page: Path, tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the commands of a page in their order, on a tiny model and a small data set."""
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    for block in blocks(page, "sh"):
        if block.title:
            continue
        for line in commands(block):
            words = shlex.split(line, comments=True)
            if words[0] == "fer-edge":
                done = command.fer_edge(*words[1:], *SHORTER.get(words[1], ()))
            else:
                done = subprocess.run(["bash", "-ec", line], capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{page.name}: {line}\n{done.stdout}\n{done.stderr}"
