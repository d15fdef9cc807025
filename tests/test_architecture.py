"""Imports point in one direction: see docs/architecture.md."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from fer_edge import _MODULES
from fer_edge.cli.main import COMMANDS, module_name
from fer_edge.engines.registry import ENGINE_MODULES

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fer_edge"
RUNTIME = {
    "_archive",
    "_few_threads",
    "_files",
    "_lock",
    "_reloads",
    "_require",
    "_settings",
    "_text",
    "_toml",
    "boxes",
    "bundle",
    "choices",
    "circumplex",
    "crop",
    "document",
    "engines",
    "environment",
    "errors",
    "expression",
    "faces",
    "file_kind",
    "hardware",
    "images",
    "labels",
    "loaded",
    "manifest",
    "progress",
    "quality",
    "recognizer",
    "results",
    "rows",
    "shipped",
    "signing",
    "video",
    "walk",
}
LARGE = {
    "av",
    "cryptography",
    "cv2",
    "jinja2",
    "matplotlib",
    "onnx",
    "onnx_ir",
    "pyarrow",
    "pythonosc",
    "ray",
    "rich",
    "safetensors",
    "sklearn",
    "starlette",
    "tflite",
    "torch",
    "typer",
    "uvicorn",
    "zeroconf",
}
FORBIDDEN = {
    "runtime": {
        "score",
        "analysis",
        "benchmark",
        "calibration",
        "cli",
        "data",
        "evaluation",
        "export",
        "graph",
        "model",
        "html",
        "live",
        "serve",
        "training",
        "web",
    },
    "live": {
        *("benchmark", "calibration", "cli", "data", "evaluation", "export", "graph", "html", "model", "training"),
        *("serve", "web"),
    },
    "serve": {
        *("analysis", "benchmark", "calibration", "cli", "data", "evaluation", "export", "graph", "html", "model"),
        *("training", "web"),
    },
    "web": {
        *("analysis", "benchmark", "calibration", "cli", "data", "evaluation", "export", "graph", "html", "model"),
        "training",
    },
    "score": {
        *("benchmark", "calibration", "cli", "data", "evaluation", "export", "graph", "live", "model", "training"),
        "web",
    },
    "analysis": {
        "score",
        *("benchmark", "calibration", "cli", "data", "evaluation", "export", "graph", "live", "model", "training"),
    },
    "html": {
        *("analysis", "benchmark", "calibration", "cli", "data", "evaluation", "export", "graph", "model", "training"),
    },
    "data": {"benchmark", "calibration", "cli", "evaluation", "export", "graph", "model", "html", "training"},
    "model": {"benchmark", "calibration", "cli", "data", "evaluation", "export", "graph", "html", "training"},
    "graph": {"benchmark", "calibration", "cli", "data", "evaluation", "export", "model", "html", "training"},
    "training": {"benchmark", "calibration", "cli", "evaluation", "export", "graph"},
    "export": {"benchmark", "cli", "training"},
    "calibration": {"benchmark", "cli", "export", "model", "training"},
    "evaluation": {"benchmark", "calibration", "cli", "export", "training"},
    "benchmark": {"calibration", "cli", "export", "graph", "model", "training"},
}  # fmt: skip
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Return every module named in an import, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def package(path: Path) -> str:
    """Return the package of a module; the runtime is one package."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "runtime" if first in RUNTIME else first


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_in_one_direction(path: Path) -> None:
    names = imports(path)
    used = {name.split(".")[1] for name in names if name.startswith("fer_edge.")}
    assert not used & FORBIDDEN.get(package(path), set())
    if package(path) == "runtime":
        assert not {name.split(".")[0] for name in names} & LARGE


def test_ros_node_needs_only_the_runtime() -> None:
    for path in (ROOT / "ros" / "fer_edge_ros" / "fer_edge_ros").glob("*.py"):
        names = imports(path)
        used = {name.split(".")[1] for name in names if name.startswith("fer_edge.")}
        modules = {_MODULES.get(name, name if name in RUNTIME else "errors").split(".")[0] for name in used}
        assert modules <= RUNTIME | {"errors"}, path
        assert not {name.split(".")[0] for name in names} & LARGE, path


def test_no_command_is_imported_by_another_module() -> None:
    commands = set(map(module_name, COMMANDS))
    importers = [
        f"{path.name}: {name}"
        for path in sorted((PACKAGE / "cli").glob("*.py"))
        for name in sorted(imports(path) & commands)
    ]
    assert not importers


def test_files_stay_short() -> None:
    long = [str(path) for path in MODULES if len(path.read_text().splitlines()) > 420]
    assert not long


def test_only_the_registry_names_engines() -> None:
    """Other modules ask the engine object; `choices` lists names for type checkers."""
    packages = {name.rpartition(".")[0] for name in ENGINE_MODULES.values()} - {"fer_edge.engines"}
    modules = {*packages, *ENGINE_MODULES.values()}
    uses = []
    for path in MODULES:
        place = path.relative_to(PACKAGE)
        if place.parts[0] == "engines" or place.name == "choices.py":
            continue
        tree = ast.parse(path.read_text())
        constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        uses += [f"{place}: {value!r}" for value in constants if value in ENGINE_MODULES]
        uses += [f"{place}: {name}" for name in imports(path) if any(f"{name}.".startswith(f"{x}.") for x in modules)]
    assert not uses


def test_hardware_needs_no_engine() -> None:
    base = {"errors", "hardware", "results"}
    for path in sorted((PACKAGE / "hardware").glob("*.py")):
        assert {name.split(".")[1] for name in imports(path) if name.startswith("fer_edge.")} <= base, path


def test_outputs_are_imported_by_their_registry_alone() -> None:
    """`fer_edge.live.outputs` imports the module of an output when a target selects it."""
    prefix = "fer_edge.live.outputs."
    names = {"make_output", "output_kind", "Note", "OUTPUTS"}
    others = [path for path in MODULES if path.parent != PACKAGE / "live" / "outputs"]
    others.append(PACKAGE / "live" / "outputs" / "__init__.py")
    assert not [
        (path.name, name)
        for path in others
        for name in imports(path) - {prefix + name for name in names}
        if name.startswith(prefix)
    ]


def test_only_the_registry_imports_all_scenarios() -> None:
    """A scenario may use another one; no other module names one, so that a new scenario is one file."""
    prefix = "fer_edge.benchmark.scenarios."
    others = [path for path in MODULES if path.parent != PACKAGE / "benchmark" / "scenarios"]
    assert not [
        path for path in others if any(name.startswith(prefix) for name in imports(path) - {prefix + "scenario_names"})
    ]
