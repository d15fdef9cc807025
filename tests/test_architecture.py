"""Imports point one way: see docs/architecture.md."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "fer_edge"
RUNTIME = {
    "__init__",
    "_archive",
    "_bundle_path",
    "_require",
    "_settings",
    "_few_threads",
    "_files",
    "_text",
    "_toml",
    "boxes",
    "bundle",
    "cgroups",
    "choices",
    "crop",
    "engines",
    "errors",
    "bundle_builder",
    "file_kind",
    "images",
    "labels",
    "machine",
    "manifest",
    "progress",
    "quality",
    "recognizer",
    "results",
    "shipped",
    "walk",
}
FORBIDDEN = {
    "runtime": {"benchmark", "calibration", "cli", "data", "evaluation", "export", "model", "html", "training"},
    "html": {"benchmark", "calibration", "cli", "data", "evaluation", "export", "model", "training"},
    "data": {"benchmark", "calibration", "cli", "evaluation", "export", "model", "html", "training"},
    "model": {"benchmark", "calibration", "cli", "data", "evaluation", "export", "html", "training"},
    "training": {"benchmark", "calibration", "cli", "evaluation", "export"},
    "export": {"benchmark", "cli", "data", "training"},
    "calibration": {"benchmark", "cli", "export", "model", "training"},
    "evaluation": {"benchmark", "calibration", "cli", "export", "training"},
    "benchmark": {"calibration", "cli", "data", "export", "model", "training"},
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Every module named in an import, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def room(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "runtime" if first in RUNTIME else first


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    names = imports(path)
    used = {name.split(".")[1] for name in names if name.startswith("fer_edge.")}
    assert not used & FORBIDDEN.get(room(path), set())
    if room(path) == "runtime":
        heavy = {"jinja2", "matplotlib", "onnx", "rich", "safetensors", "sklearn", "torch", "typer"}
        assert not {name.split(".")[0] for name in names} & heavy


def test_files_stay_short() -> None:
    long = [str(path) for path in MODULES if len(path.read_text().splitlines()) > 420]
    assert not long
