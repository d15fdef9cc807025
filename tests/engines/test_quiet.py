"""The one place that imports engines' packages."""

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
seen = os.environ.get("NOISY_TELEMETRY")
try:
    import noisy_tools
except ImportError:
    noisy_tools = None
if os.environ.get("NOISY_FAILS"):
    raise OSError("libnoisy.so: cannot open shared object file")
"""


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[types.ModuleType]:
    """A package with telemetry that imports tools of its own; what has been finished after its import."""
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


def test_what_a_package_does_unasked_is_switched_off_before_it_is_imported(finished: list[types.ModuleType]) -> None:
    package = import_package("noisy")
    assert (package.seen, package.noisy_tools) == ("off", None)
    assert os.environ["NOISY_TELEMETRY"] == "off"  # for processes that are started from here
    assert import_package("noisy") is package
    assert finished == [package]
    import noisy_tools  # type: ignore[import-not-found]

    assert noisy_tools.__name__ == "noisy_tools"  # whoever wants it has it


def test_what_the_user_set_is_left_alone(finished: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISY_TELEMETRY", "on")
    assert import_package("noisy").seen == "on"


def test_a_package_that_the_app_imported_is_taken_as_it_is(
    finished: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = types.ModuleType("noisy")
    monkeypatch.setitem(sys.modules, "noisy", theirs)
    assert import_package("noisy") is theirs
    assert "NOISY_TELEMETRY" not in os.environ
    assert not finished


def test_an_import_that_fails_hides_nothing_for_good(finished: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISY_FAILS", "1")
    with pytest.raises(OSError, match="cannot open shared object file"):
        import_package("noisy")
    assert "noisy_tools" not in sys.modules
    assert not finished


def test_packages_that_send_telemetry_are_switched_off() -> None:
    assert quiet.PACKAGES["onnxruntime"].environment == {"ORT_DISABLE_TELEMETRY": "1"}
    assert "openvino.tools.ovc" in quiet.PACKAGES["openvino"].left_out
