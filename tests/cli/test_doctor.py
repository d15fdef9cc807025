"""The doctor's table, on machines that lack something."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from fer_edge.cli.doctor import doctor
from fer_edge.engines import registry
from fer_edge.engines.registry import EngineStatus
from fer_edge.engines.tensorrt import diagnostics
from fer_edge.engines.tensorrt.diagnostics import Machine
from fer_edge.engines.tensorrt.driver import Driver, Gpu

ORIN = Gpu("Orin", "sm87", 7620, integrated=True)
STATUSES = {
    "openvino": EngineStatus("openvino", "2026.1", can_build=True, can_run=True, reason=""),
    "tensorrt": EngineStatus("tensorrt", "10.3.0", can_build=True, can_run=False, reason="PyCUDA cannot be imported"),
    "tensorrt-rtx": EngineStatus("tensorrt-rtx", None, can_build=False, can_run=False, reason="no wheels"),
}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """What the doctor prints of a machine, without some modules."""

    def tell(machine: Machine, without: tuple[str, ...] = ()) -> str:
        find_spec = importlib.util.find_spec
        monkeypatch.setenv("COLUMNS", "120")
        monkeypatch.setattr(registry, "ENGINE_MODULES", STATUSES)
        monkeypatch.setattr(registry, "engine_status", STATUSES.__getitem__)
        monkeypatch.setattr(diagnostics, "probe_system", lambda: machine)
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, *more: None if name in without else find_spec(name, *more)
        )
        doctor()
        return capsys.readouterr().out

    return tell


def words(text: str, engine: str) -> list[str]:
    """Of an engine's row: builds, runs."""
    row = next(line for line in text.splitlines() if f" {engine} " in line)
    return [cell.strip() for cell in row.split("\u2502")[3:5]]


def test_an_engine_builds_without_the_export_extra(told: Any) -> None:
    text = told(Machine(Driver((12, 6), (ORIN,)), packages={"tensorrt": "10.3.0"}, l4t=(36, 4)), ("torch", "onnx"))
    assert [words(text, engine) for engine in STATUSES] == [["yes", "yes"], ["yes", "no"], ["no", "no"]]
    assert words(text, "pytorch") == ["-", "no"]
    note = 'missing: torch, onnx; run: pip install "fer-edge[export]"'
    assert (
        f"building from a checkpoint needs the export extra ({note}); add-engine builds from a bundle without it"
        in text
    )


def test_nothing_is_said_of_an_extra_that_is_there(told: Any) -> None:
    assert "export extra" not in told(Machine(None, "no NVIDIA driver here"))


def test_a_driver_is_missed_only_where_a_product_is_installed(told: Any) -> None:
    others = {"nvidia-cuda-runtime-cu12": "12.8.90", "tensorrt-stubs": "10.3.0"}
    assert "NVIDIA:" not in told(Machine(None, "no NVIDIA driver here", others))
    text = told(Machine(None, "no NVIDIA driver here", {**others, "tensorrt-cu13": "11.4.0.106"}))
    assert "NVIDIA: no NVIDIA driver here: install NVIDIA's driver" in text
