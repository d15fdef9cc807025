"""Commands have no side effects on files, sockets or output; checked by their system calls."""

from __future__ import annotations

import ast
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from fer_edge.engines.registry import engines
from tests.side_effects import ROOT, cases, trace

COMMANDS = [
    "import",
    "doctor",
    *(f"{command} {engine}" for engine in ("openvino", "onnxruntime") for command in ("predict", "evaluate", "bench")),
    "add-engine tensorrt-rtx",
]


@pytest.fixture(scope="module")
def strace() -> None:
    """Require strace; without it, skip the test, but fail in CI."""
    if shutil.which("strace") is None:
        if os.environ.get("FER_EDGE_REQUIRE_SHARED"):
            pytest.fail("strace is missing, and this run must not skip tests that need it: see .ci/run")
        pytest.skip("needs strace; on Debian or Ubuntu: apt-get install strace")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inputs")


@pytest.fixture(scope="module")
def commands(inputs: Path) -> dict[str, list[str]]:
    return cases(inputs)


@pytest.mark.usefixtures("strace")
@pytest.mark.parametrize("title", COMMANDS)
def test_command_has_no_side_effects(title: str, commands: dict[str, list[str]], inputs: Path, tmp_path: Path) -> None:
    if title not in commands:
        pytest.skip("this engine is not installed here")
    effects = trace([sys.executable, *commands[title]], tmp_path / "run")
    assert effects.status == 0, effects.stderr
    assert effects.unexpected(inputs / "output") == []
    assert not [*(tmp_path / "run" / "home").iterdir(), *(tmp_path / "run" / "tmp").iterdir()]
    assert title == "import" or json.loads(effects.stdout)  # only JSON on stdout
    assert title != "import" or effects.stdout == ""


@pytest.mark.usefixtures("strace")
def test_trace_sees_files_and_sockets(tmp_path: Path) -> None:
    program = "import os, socket; open('a', 'w').close(); os.mkdir('b'); os.rename('a', 'c'); socket.socket()"
    effects = trace([sys.executable, "-c", program], tmp_path / "run")
    work = tmp_path / "run" / "work"
    assert effects.changed == {work / "a", work / "b", work / "c"}
    assert [line.partition("(")[0] for line in sorted(effects.sockets)] == ["getsockname", "socket"]
    assert effects.unexpected(work) == sorted(effects.sockets)


def test_only_quiet_imports_packages_of_engines() -> None:
    packages = {package.module.split(".")[0] for engine in engines() for package in engine.packages}
    for path in (ROOT / "fer_edge").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                modules = [node.module or ""]
            assert not {module.split(".")[0] for module in modules} & packages, f"{path} imports {modules}"
