"""Build options of TensorRT and TensorRT-RTX, from recipes and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from fer_edge.errors import ConfigError

Weights = Literal["inside", "stripped"]
HardwareCompatible = Literal["no", "ampere-plus", "same-compute-capability"]
Platform = Literal["this", "windows-x86_64"]
CHOICES = {"weights": Weights, "hardware_compatible": HardwareCompatible, "platform": Platform}


@dataclass(frozen=True)
class BuilderOptions:
    """Builder options of both products. An option that the installed version lacks is refused, not ignored."""

    # 0 to 5; None: the builder's default. A higher level tries more kernels: a longer build, possibly a faster engine.
    optimization_level: int | None = None
    # Batch sizes with their own optimisation profile, for which kernels are chosen. If there are several profiles, the
    # profile of batch size 1 accepts single images only. With TensorRT-RTX each profile adds an engine's size to the
    # file.
    optimal_batches: tuple[int, ...] = (1,)
    workspace_mb: int | None = None  # scratch memory that a kernel may use, in MiB; None: all GPU memory
    aux_streams: int | None = None  # extra streams for independent layers; None: TensorRT's heuristic
    tf32: bool = False  # compute float32 products with 10-bit mantissas
    weights: Weights = "inside"  # stripped: the engine file has no weights; loading refits them from model.onnx
    version_compatible: bool = False  # runs on newer TensorRT of the same major version, somewhat slower
    hardware_compatible: HardwareCompatible = "no"  # runs on other GPUs too, somewhat slower
    platform: Platform = "this"  # windows-x86_64: build on Linux for Windows
    timing_cache: str | None = None  # folder for kernel timings, which speed up the next build of the same model

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: Value of the wrong type, out of range or not among the choices.
        """
        _check_range("optimization_level", self.optimization_level, 0, 5)
        _check_range("workspace_mb", self.workspace_mb, 1, 1 << 20)
        _check_range("aux_streams", self.aux_streams, 0, 64)
        if not self.optimal_batches or len(set(self.optimal_batches)) != len(self.optimal_batches):
            raise ConfigError(f"optimal_batches is {list(self.optimal_batches)}; expected different batch sizes")
        for batch in self.optimal_batches:
            _check_range("optimal_batches", batch, 1, 1024)
        for name, choices in CHOICES.items():
            if getattr(self, name) not in get_args(choices):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; expected one of: {', '.join(get_args(choices))}")
        for name in ("tf32", "version_compatible"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; expected true or false")
        if not isinstance(self.timing_cache, (str, type(None))):
            raise ConfigError(f"timing_cache is {self.timing_cache!r}; expected a folder")

    def profiles(self, max_batch: int) -> list[tuple[int, int, int]]:
        """Return smallest, optimal and largest batch size of each optimisation profile.

        Args:
            max_batch: Largest batch size of the engine, which at least one profile accepts.

        Raises:
            ConfigError: Optimal batch size larger than `max_batch`.
        """
        if max(self.optimal_batches) > max_batch:
            raise ConfigError(f"optimal_batches has {max(self.optimal_batches)}; the engine takes at most {max_batch}")
        several = len(self.optimal_batches) > 1
        return [(1, batch, 1 if batch == 1 and several else max_batch) for batch in self.optimal_batches]


OPTION_NAMES = tuple(entry.name for entry in fields(BuilderOptions))


def options_from_settings(settings: Mapping[str, Any]) -> BuilderOptions:
    """Create options from a recipe's table or from the command line.

    Raises:
        ConfigError: Unknown name, or invalid value.
    """
    unknown = [name for name in settings if name not in OPTION_NAMES]
    if unknown:
        raise ConfigError(f"no build option {unknown[0]!r}; expected some of: {', '.join(OPTION_NAMES)}")
    values = dict(settings)
    if isinstance(values.get("optimal_batches"), (int, list)):
        batches = values["optimal_batches"]
        values["optimal_batches"] = tuple(batches) if isinstance(batches, list) else (batches,)
    if not isinstance(values.get("optimal_batches", ()), tuple):
        raise ConfigError(f"optimal_batches is {values['optimal_batches']!r}; expected a list of batch sizes")
    return BuilderOptions(**values)


def _check_range(name: str, value: object, smallest: int, largest: int) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not smallest <= value <= largest:
        raise ConfigError(f"{name} is {value!r}; expected a whole number from {smallest} to {largest}")
