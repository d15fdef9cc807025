"""The state of an NVIDIA GPU while something is measured: clocks, power, heat, and what holds the clocks down."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from fer_edge.engines.tensorrt.driver import pci_bus_id

INTERVAL = 0.05  # seconds between samples
REASON = re.compile(r"nvmlClocksEventReason([A-Z]\w+)")
HARMLESS = {"None", "GpuIdle", "All"}


@dataclass(frozen=True)
class Spread:
    """Smallest, middle and largest of the samples."""

    least: float
    median: float
    most: float


@dataclass(frozen=True)
class GpuState:
    """What was sampled. A figure measured while the clocks were held down is of the cooling, not of the engine."""

    name: str
    driver: str
    samples: int
    sm_clock_mhz: Spread
    memory_clock_mhz: Spread
    power_w: Spread | None  # None where the GPU does not tell
    temperature_c: Spread
    memory_used_mb: Spread  # of the GPU's memory, by all processes
    held_down_by: tuple[str, ...]  # NVML's names: SwPowerCap, HwThermalSlowdown, ...


class GpuSampler:
    """Samples a GPU in a thread of its own, for as long as the block lasts. It never ends what is measured meanwhile.

    `index` is CUDA's. NVML counts all GPUs of the machine, CUDA those of CUDA_VISIBLE_DEVICES, and in another order: so
    NVML is asked for the GPU by its place on the PCI bus.

    >>> with GpuSampler() as sampler:
    ...     measure()
    >>> sampler.state or sampler.reason
    """

    def __init__(self, index: int = 0, nvml: Any = None) -> None:
        self.state: GpuState | None = None
        self.reason = ""  # why there is no state
        self._samples: list[dict[str, float]] = []
        self._held: set[str] = set()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        try:
            self._nvml = nvml or _nvml()
            self._handle = self._open(index)
        except ImportError as error:
            self.reason = f'{error}; run: pip install "fer-edge[cuda]"'
        except Exception as error:  # NVML's errors are made when it is imported; Jetsons have none of it
            self.reason = f"NVML tells nothing here: {error}"
        else:
            names = (REASON.fullmatch(name) for name in dir(self._nvml))
            bits = {found[1]: int(getattr(self._nvml, found[0])) for found in names if found}
            self._reasons = {name: bit for name, bit in bits.items() if name not in HARMLESS}

    def __enter__(self) -> GpuSampler:
        if not self.reason:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is None:
            return
        self._thread.join()
        try:
            if self._samples:
                self.state = self._summary()
        except Exception as failure:  # the measurement is done and must not be lost
            self.reason = f"the GPU's state could not be read: {failure}"
        finally:
            self._shut_down()

    def _open(self, index: int) -> Any:
        self._nvml.nvmlInit()
        try:
            return self._nvml.nvmlDeviceGetHandleByPciBusId(pci_bus_id(index))
        except BaseException:
            self._shut_down()
            raise

    def _shut_down(self) -> None:
        with suppress(self._nvml.NVMLError):  # of a GPU that is gone
            self._nvml.nvmlShutdown()

    def _run(self) -> None:
        while True:
            try:
                self._sample()
            except Exception as error:  # a GPU that falls off the bus must not end the measurement
                self.reason = f"NVML stopped: {error}"
                return
            if self._stop.wait(INTERVAL):
                return

    def _sample(self) -> None:
        nvml, handle = self._nvml, self._handle
        sample = {
            "sm_clock_mhz": nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
            "memory_clock_mhz": nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
            "temperature_c": nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
            "memory_used_mb": nvml.nvmlDeviceGetMemoryInfo(handle).used / 1e6,
        }
        with suppress(nvml.NVMLError):  # not every GPU tells
            sample["power_w"] = nvml.nvmlDeviceGetPowerUsage(handle) / 1000
        held = nvml.nvmlDeviceGetCurrentClocksEventReasons(handle)
        self._held |= {name for name, bit in self._reasons.items() if held & bit}
        self._samples.append(sample)

    def _summary(self) -> GpuState:
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
    return value.decode() if isinstance(value, bytes) else value


def _nvml() -> Any:
    import pynvml

    return pynvml
