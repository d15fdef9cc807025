"""The NVIDIA driver, read through ctypes."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from fer_edge.errors import EngineUnavailableError
from fer_edge.hardware import gpu
from fer_edge.hardware.gpu import Driver, Gpu, compute_capability, pci_bus_id, read_driver


class FakeDriver:
    """The driver functions that `gpu` calls through ctypes."""

    def __init__(self, result: int = 0, count: int = 1) -> None:
        self.result, self.count = result, count

    def cuInit(self, flags: int) -> int:
        return self.result

    def cuGetErrorName(self, code: int, text: Any) -> int:
        names = {101: b"CUDA_ERROR_INVALID_DEVICE", 803: b"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"}
        text._obj.value = names[code]
        return 0

    def cuDriverGetVersion(self, version: Any) -> int:
        version._obj.value = 12040
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self.count
        return 0

    def cuDeviceGet(self, device: Any, index: int) -> int:
        device._obj.value = index
        return 0 if index < self.count else 101

    def cuDeviceGetPCIBusId(self, name: Any, size: int, device: Any) -> int:
        name.value = f"0000:{device.value + 1:02x}:00.0".encode()
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:
        name.value = b"Orin"
        return 0

    def cuDeviceTotalMem_v2(self, size: Any, device: Any) -> int:
        size._obj.value = 8 << 30
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:
        value._obj.value = {75: 8, 76: 7, 18: 1}[attribute]
        return 0


def test_driver_version_and_gpus_are_read() -> None:
    assert read_driver(FakeDriver()) == Driver((12, 4), (Gpu("Orin", "sm87", 8192, integrated=True),))
    assert read_driver(FakeDriver(result=100)).gpus == ()
    with pytest.raises(
        EngineUnavailableError, match=r"does not start \(CUDA error 803, CUDA_ERROR_SYSTEM_DRIVER_MISMATCH\)"
    ):
        read_driver(FakeDriver(result=803))


def test_architecture_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_load", FakeDriver)
    assert compute_capability() == "sm87"
    with pytest.raises(EngineUnavailableError, match="there is no GPU 1; the driver finds 1, counted from 0"):
        compute_capability(1)
    monkeypatch.setattr(gpu, "_load", lambda: FakeDriver(count=0))
    with pytest.raises(EngineUnavailableError, match="the NVIDIA driver finds no GPU"):
        compute_capability()


def test_pci_bus_id_of_a_gpu() -> None:
    assert pci_bus_id(1, FakeDriver(count=2)) == "0000:02:00.0"
    with pytest.raises(
        EngineUnavailableError,
        match=r"PCI bus id of GPU 2 \(CUDA error 101, CUDA_ERROR_INVALID_DEVICE\); see: fer-edge doctor",
    ):
        pci_bus_id(2, FakeDriver(count=2))
    with pytest.raises(EngineUnavailableError, match="CUDA error 803, CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"):
        pci_bus_id(0, FakeDriver(result=803))


def test_missing_driver_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(EngineUnavailableError, match="no NVIDIA driver here"):
        read_driver()
