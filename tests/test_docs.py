"""Commands in the README and the guides: their options exist, and what half precision and int8 need is given."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from fer_edge.cli.main import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "benchmarks" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = re.compile(r"^ +fer-edge ((?:.*\\\n)*.+)$", re.MULTILINE)


def commands(page: Path) -> list[list[str]]:
    found = (shlex.split(text.replace("\\\n", " "), comments=True) for text in COMMAND.findall(page.read_text()))
    return [words for words in found if words]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_understood(page: Path) -> None:
    group = typer.main.get_command(app)
    for name, *words in commands(page):
        with group.make_context("fer-edge", [name], resilient_parsing=True) as context:
            command = group.get_command(context, name)  # type: ignore[attr-defined]
            assert command is not None, f"{page.name}: {name}"
            command.make_context(name, list(words), parent=context)
        if "--precision" in words and words[words.index("--precision") + 1] != "fp32":
            assert "--ranges" in words, f"{page.name}: {name} {words}"


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.parent.name != "benchmarks"], ids=lambda page: page.name
)
def test_commands_name_no_file_of_a_clone(page: Path) -> None:
    for words in commands(page):
        assert not [word for word in words if "/" in word and (ROOT / word).exists()], f"{page.name}: {words}"


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_commands_are_found() -> None:
    assert len(commands(ROOT / "README.md")) >= 8
    assert commands(ROOT / "docs" / "guides" / "build-farm.md")[0][-2:] == ["-o", "model-rtx.fer"]
