"""Import of the engines' packages without telemetry."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import pytest

from fer_edge.engines import onnxruntime
from fer_edge.engines.openvino import core
from fer_edge.engines.quiet import Package, import_package

NOISY = """
import os
telemetry = os.environ.get("NOISY_TELEMETRY")
try:
    import noisy_tools
except ImportError:
    noisy_tools = None
if os.environ.get("NOISY_FAILS"):
    raise OSError("libnoisy.so: cannot open shared object file")
"""


CALLS: list[types.ModuleType] = []  # of the package's `after_import`
PACKAGE = Package("noisy", "noisy", {"NOISY_TELEMETRY": "off"}, ("noisy_tools",), CALLS.append)


@pytest.fixture(autouse=True)
def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Create a package with telemetry and optional tools."""
    (tmp_path / "noisy.py").write_text(NOISY)
    (tmp_path / "noisy_tools.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    CALLS.clear()
    for name in ("noisy", "noisy_tools"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in ("NOISY_TELEMETRY", "NOISY_FAILS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_telemetry_is_switched_off_before_import() -> None:
    package = import_package(PACKAGE)
    assert (package.telemetry, package.noisy_tools) == ("off", None)
    assert os.environ["NOISY_TELEMETRY"] == "off"  # inherited by child processes
    assert import_package(PACKAGE) is package
    assert [package] == CALLS
    import noisy_tools  # type: ignore[import-not-found]

    assert noisy_tools.__name__ == "noisy_tools"  # still importable by others


def test_variable_set_by_the_user_is_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISY_TELEMETRY", "on")
    assert import_package(PACKAGE).telemetry == "on"


def test_package_imported_by_the_app_is_used_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    package = types.ModuleType("noisy")
    monkeypatch.setitem(sys.modules, "noisy", package)
    assert import_package(PACKAGE) is package
    assert "NOISY_TELEMETRY" not in os.environ
    assert not CALLS


def test_failed_import_leaves_no_module_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISY_FAILS", "1")
    with pytest.raises(OSError, match="cannot open shared object file"):
        import_package(PACKAGE)
    assert "noisy_tools" not in sys.modules
    assert not CALLS


def test_packages_with_telemetry_are_configured() -> None:
    assert onnxruntime.PACKAGE.environment == {"ORT_DISABLE_TELEMETRY": "1"}
    assert "openvino.tools.ovc" in core.PACKAGE.blocked_modules
