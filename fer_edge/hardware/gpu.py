"""GPUs and CUDA version of this machine, read from the NVIDIA driver's library: no CUDA package is needed."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from typing import Any

from fer_edge.errors import EngineUnavailableError

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR, INTEGRATED = 75, 76, 18  # values of CUdevice_attribute
NO_DEVICE = 100  # value of CUresult


@dataclass(frozen=True)
class Gpu:
    """A CUDA device."""

    name: str
    target: str  # GPU architecture, "sm89"
    memory_mb: int
    integrated: bool  # shares its memory with the CPU, as on Jetson


@dataclass(frozen=True)
class Driver:
    """The driver and the devices that are visible to this process."""

    cuda: tuple[int, int]  # newest supported CUDA version, (13, 0)
    gpus: tuple[Gpu, ...]

    def gpu(self, index: int = 0) -> Gpu:
        """Return a device by its CUDA index.

        Raises:
            EngineUnavailableError: No device with this index.
        """
        if not self.gpus:
            raise EngineUnavailableError("the NVIDIA driver finds no GPU")
        if index >= len(self.gpus):
            raise EngineUnavailableError(f"there is no GPU {index}; the driver finds {len(self.gpus)}, counted from 0")
        return self.gpus[index]


def read_driver(library: Any = None) -> Driver:
    """Read CUDA version and devices from the driver.

    Args:
        library: Loaded driver library; by default it is loaded under its usual name.

    Raises:
        EngineUnavailableError: Driver that is missing or does not start.
    """
    cuda = library or _load()
    version = ctypes.c_int()
    result = cuda.cuInit(0)
    if result not in (0, NO_DEVICE):
        raise EngineUnavailableError(
            f"the NVIDIA driver does not start (CUDA error {result}, {_error_name(cuda, result)})"
        )
    cuda.cuDriverGetVersion(ctypes.byref(version))
    count = ctypes.c_int()
    if result == 0:
        cuda.cuDeviceGetCount(ctypes.byref(count))
    gpus = tuple(_read_gpu(cuda, index) for index in range(count.value))
    return Driver((version.value // 1000, version.value % 1000 // 10), gpus)


def compute_capability(index: int = 0) -> str:
    """Return the architecture of a GPU, `sm89`.

    Args:
        index: CUDA index of the GPU, counted from 0.

    Raises:
        EngineUnavailableError: No driver, or no GPU with this index.
    """
    return read_driver().gpu(index).target


def pci_bus_id(index: int = 0, library: Any = None) -> str:
    """Return the PCI bus id of a GPU, `0000:01:00.0`. It is valid for NVML too, which numbers GPUs differently.

    Args:
        index: CUDA index of the GPU, counted from 0.
        library: Loaded driver library; by default it is loaded under its usual name.

    Raises:
        EngineUnavailableError: No driver, or no GPU with this index.
    """
    cuda = library or _load()
    device, name = ctypes.c_int(), ctypes.create_string_buffer(32)
    result = (
        cuda.cuInit(0)
        or cuda.cuDeviceGet(ctypes.byref(device), index)
        or cuda.cuDeviceGetPCIBusId(name, len(name), device)
    )
    if result:
        raise EngineUnavailableError(
            f"the NVIDIA driver cannot give the PCI bus id of GPU {index} (CUDA error {result}, "
            f"{_error_name(cuda, result)}); see: fer-edge doctor"
        )
    return name.value.decode()


def _load() -> Any:
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise EngineUnavailableError(f"no NVIDIA driver here ({LIBRARY} not found)") from error


def _read_gpu(cuda: Any, index: int) -> Gpu:
    device, memory = ctypes.c_int(), ctypes.c_size_t()
    name = ctypes.create_string_buffer(256)
    cuda.cuDeviceGet(ctypes.byref(device), index)
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)

    def attribute(number: int) -> int:
        value = ctypes.c_int()
        cuda.cuDeviceGetAttribute(ctypes.byref(value), number, device)
        return value.value

    major, minor = attribute(COMPUTE_CAPABILITY_MAJOR), attribute(COMPUTE_CAPABILITY_MINOR)
    return Gpu(
        name.value.decode(errors="replace"), f"sm{major}{minor}", memory.value >> 20, bool(attribute(INTEGRATED))
    )


def _error_name(cuda: Any, result: int) -> str:
    text = ctypes.c_char_p()
    if cuda.cuGetErrorName(result, ctypes.byref(text)) != 0 or text.value is None:
        return "unknown"
    return text.value.decode()
