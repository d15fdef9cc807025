"""Import of the engines' packages without telemetry."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from fer_edge.engines import quiet
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


@pytest.fixture
def callback_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[types.ModuleType]:
    """Create a package with telemetry and optional tools; return the calls of its `after_import`."""
    (tmp_path / "noisy.py").write_text(NOISY)
    (tmp_path / "noisy_tools.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    calls: list[types.ModuleType] = []
    package = Package({"NOISY_TELEMETRY": "off"}, ("noisy_tools",), calls.append)
    monkeypatch.setattr(quiet, "PACKAGES", {"noisy": package})
    for name in ("noisy", "noisy_tools"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in ("NOISY_TELEMETRY", "NOISY_FAILS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return calls


def test_telemetry_is_switched_off_before_import(callback_calls: list[types.ModuleType]) -> None:
    package = import_package("noisy")
    assert (package.telemetry, package.noisy_tools) == ("off", None)
    assert os.environ["NOISY_TELEMETRY"] == "off"  # inherited by child processes
    assert import_package("noisy") is package
    assert callback_calls == [package]
    import noisy_tools  # type: ignore[import-not-found]

    assert noisy_tools.__name__ == "noisy_tools"  # still importable by others


def test_variable_set_by_the_user_is_not_changed(callback_calls: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISY_TELEMETRY", "on")
    assert import_package("noisy").telemetry == "on"


def test_package_imported_by_the_app_is_used_unchanged(
    callback_calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    package = types.ModuleType("noisy")
    monkeypatch.setitem(sys.modules, "noisy", package)
    assert import_package("noisy") is package
    assert "NOISY_TELEMETRY" not in os.environ
    assert not callback_calls


def test_failed_import_leaves_no_module_blocked(callback_calls: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISY_FAILS", "1")
    with pytest.raises(OSError, match="cannot open shared object file"):
        import_package("noisy")
    assert "noisy_tools" not in sys.modules
    assert not callback_calls


def test_packages_with_telemetry_are_configured() -> None:
    assert quiet.PACKAGES["onnxruntime"].environment == {"ORT_DISABLE_TELEMETRY": "1"}
    assert "openvino.tools.ovc" in quiet.PACKAGES["openvino"].blocked_modules
