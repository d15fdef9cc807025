"""`fer-edge doctor` on machines with missing packages and drivers."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from fer_edge.cli.doctor import doctor
from fer_edge.engines import registry
from fer_edge.engines.registry import EngineStatus
from fer_edge.engines.tensorrt import diagnostics
from fer_edge.engines.tensorrt.diagnostics import Machine
from fer_edge.hardware.gpu import Driver, Gpu

ORIN = Gpu("Orin", "sm87", 7620, integrated=True)
STATUSES = {
    "openvino": EngineStatus("openvino", "2026.1", can_build=True, can_run=True, reason=""),
    "tensorrt": EngineStatus("tensorrt", "10.3.0", can_build=True, can_run=False, reason="PyCUDA cannot be imported"),
    "tensorrt-rtx": EngineStatus("tensorrt-rtx", None, can_build=False, can_run=False, reason="no wheels"),
}


@pytest.fixture
def doctor_output(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that gives the output for a system, with some modules missing."""

    def output(machine: Machine, missing: tuple[str, ...] = ()) -> str:
        find_spec = importlib.util.find_spec
        monkeypatch.setenv("COLUMNS", "120")
        monkeypatch.setattr(registry, "ENGINE_MODULES", STATUSES)
        monkeypatch.setattr(registry, "engine_status", STATUSES.__getitem__)
        monkeypatch.setattr(diagnostics, "probe_system", lambda: machine)
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, *more: None if name in missing else find_spec(name, *more)
        )
        doctor()
        return capsys.readouterr().out

    return output


def states(text: str, engine: str) -> list[str]:
    """Return the cells `builds` and `runs` of an engine's row."""
    row = next(line for line in text.splitlines() if f" {engine} " in line)
    return [cell.strip() for cell in row.split("\u2502")[3:5]]


def test_engine_builds_without_the_export_extra(doctor_output: Any) -> None:
    machine = Machine(Driver((12, 6), (ORIN,)), packages={"tensorrt": "10.3.0"}, l4t=(36, 4))
    text = doctor_output(machine, ("torch", "onnx"))
    assert [states(text, engine) for engine in STATUSES] == [["yes", "yes"], ["yes", "no"], ["no", "no"]]
    assert states(text, "pytorch") == ["-", "no"]
    reason = 'missing: torch, onnx; run: pip install "fer-edge[export]"'
    assert (
        f"building from a checkpoint needs the extra `export` ({reason}); "
        "`fer-edge bundle add-engine` builds from a bundle without it" in text
    )
    assert "GPU: Orin, GPU architecture sm87, 7620 MB" in text


def test_installed_extra_is_not_mentioned(doctor_output: Any) -> None:
    assert "extra `export`" not in doctor_output(Machine(None, "no NVIDIA driver here"))


def test_missing_driver_is_reported_for_installed_products_only(doctor_output: Any) -> None:
    others = {"nvidia-cuda-runtime-cu12": "12.8.90", "tensorrt-stubs": "10.3.0"}
    assert "NVIDIA:" not in doctor_output(Machine(None, "no NVIDIA driver here", others))
    text = doctor_output(Machine(None, "no NVIDIA driver here", {**others, "tensorrt-cu13": "11.4.0.106"}))
    assert "NVIDIA: no NVIDIA driver here: install NVIDIA's driver" in text
