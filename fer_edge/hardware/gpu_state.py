"""GPU clocks, power and temperature during a measurement, from NVML."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

from fer_edge.hardware.gpu import pci_bus_id
from fer_edge.results import Quantity

INTERVAL = 0.05  # seconds between samples
REASON = re.compile(r"nvmlClocksEventReason([A-Z]\w+)")
HARMLESS = {"None", "GpuIdle", "All"}


@dataclass(frozen=True)
class Spread:
    """Minimum, median and maximum of the samples."""

    least: float
    median: float
    most: float


@dataclass(frozen=True)
class GpuState:
    """GPU clocks and temperature during a run. Results taken while throttled measure the cooling."""

    name: str
    driver: str
    samples: int
    sm_clock_mhz: Annotated[Spread, Quantity("SM clock", "MHz")]
    memory_clock_mhz: Annotated[Spread, Quantity("memory clock", "MHz")]
    power_w: Annotated[Spread | None, Quantity("power", "W")]  # None: not supported by the GPU
    temperature_c: Annotated[Spread, Quantity("temperature", "degrees Celsius")]
    memory_used_mb: Annotated[Spread, Quantity("memory in use by all processes", "MB")]  # GPU memory
    held_down_by: tuple[str, ...]  # NVML's reasons for reduced clocks: SwPowerCap, HwThermalSlowdown, ...


class GpuSampler:
    """Context manager that samples a GPU in a background thread. Its own errors never stop the measurement.

    CUDA counts the GPUs of CUDA_VISIBLE_DEVICES and NVML counts all GPUs in another order, so the GPU is looked up by
    its PCI bus ID.

    Args:
        index: CUDA index of the GPU, 0 by default.
        nvml: Module with NVML's functions; pynvml by default.

    >>> with GpuSampler() as sampler:
    ...     measure()
    >>> sampler.state or sampler.reason
    """

    def __init__(self, index: int = 0, nvml: Any = None) -> None:
        self.state: GpuState | None = None
        self.reason = ""  # why `state` is None
        self._samples: list[dict[str, float]] = []
        self._held: set[str] = set()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        try:
            self._nvml = nvml or _nvml()
            self._handle = self._open(index)
        except ImportError as error:
            self.reason = f'{error}; run: pip install "fer-edge[cuda]"'
        except Exception as error:  # NVML's error classes exist only after its import; Jetsons do not support NVML
            self.reason = f"NVML is not available: {error}"
        else:
            names = (REASON.fullmatch(name) for name in dir(self._nvml))
            bits = {match[1]: int(getattr(self._nvml, match[0])) for match in names if match}
            self._reasons = {name: bit for name, bit in bits.items() if name not in HARMLESS}

    def __enter__(self) -> GpuSampler:
        if not self.reason:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is None:
            return
        self._thread.join()
        try:
            if self._samples:
                self.state = self._summarise()
        except Exception as failure:  # the finished measurement must not be lost
            self.reason = f"cannot read the GPU's state: {failure}"
        finally:
            self._shut_down()

    def _open(self, index: int) -> Any:
        """Start NVML and return the handle of the GPU."""
        self._nvml.nvmlInit()
        try:
            return self._nvml.nvmlDeviceGetHandleByPciBusId(pci_bus_id(index))
        except BaseException:
            self._shut_down()
            raise

    def _shut_down(self) -> None:
        with suppress(self._nvml.NVMLError):  # raised if the GPU was lost
            self._nvml.nvmlShutdown()

    def _run(self) -> None:
        """Take samples until the block ends."""
        while True:
            try:
                self._sample()
            except Exception as error:  # a GPU that is lost must not end the measurement
                self.reason = f"NVML failed during the run: {error}"
                return
            if self._stop.wait(INTERVAL):
                return

    def _sample(self) -> None:
        """Take one sample."""
        nvml, handle = self._nvml, self._handle
        sample = {
            "sm_clock_mhz": nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
            "memory_clock_mhz": nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
            "temperature_c": nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
            "memory_used_mb": nvml.nvmlDeviceGetMemoryInfo(handle).used / 1e6,
        }
        with suppress(nvml.NVMLError):  # not every GPU measures power
            sample["power_w"] = nvml.nvmlDeviceGetPowerUsage(handle) / 1000
        held = nvml.nvmlDeviceGetCurrentClocksEventReasons(handle)
        self._held |= {name for name, bit in self._reasons.items() if held & bit}
        self._samples.append(sample)

    def _summarise(self) -> GpuState:
        """Summarise all samples."""
        return GpuState(
            name=_text(self._nvml.nvmlDeviceGetName(self._handle)),
            driver=_text(self._nvml.nvmlSystemGetDriverVersion()),
            samples=len(self._samples),
            sm_clock_mhz=self._spread("sm_clock_mhz"),
            memory_clock_mhz=self._spread("memory_clock_mhz"),
            power_w=self._spread("power_w") if "power_w" in self._samples[0] else None,
            temperature_c=self._spread("temperature_c"),
            memory_used_mb=self._spread("memory_used_mb"),
            held_down_by=tuple(sorted(self._held)),
        )

    def _spread(self, name: str) -> Spread:
        values = sorted(sample[name] for sample in self._samples if name in sample)
        return Spread(values[0], values[len(values) // 2], values[-1])


def _text(value: str | bytes) -> str:
    """Return NVML's text; older versions of pynvml return bytes."""
    return value.decode() if isinstance(value, bytes) else value


def _nvml() -> Any:
    import pynvml

    return pynvml
