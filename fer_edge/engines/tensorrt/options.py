"""How an engine is built, as recipes and the command line name it."""

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
    """Builder options of TensorRT and TensorRT-RTX; what a version lacks is refused, not ignored."""

    # 0 to 5: a higher level tries more kernels, takes longer and may run faster. None: the builder's default.
    optimization_level: int | None = None
    # Each gets an optimisation profile of its own: kernels are chosen for that batch size. Beside others, the profile
    # for 1 takes single frames only. With TensorRT-RTX each profile adds the size of an engine to the file.
    optimal_batches: tuple[int, ...] = (1,)
    workspace_mb: int | None = None  # scratch memory a kernel may use; None: all of the GPU's
    aux_streams: int | None = None  # streams that independent layers may use beside the runner's own; None: heuristic
    tf32: bool = False  # float32 products with 10-bit mantissas; off, fp32 means what it says
    weights: Weights = "inside"  # stripped: taken from the bundle's model.onnx when loaded
    version_compatible: bool = False  # runs on newer TensorRT of the same major version, somewhat slower
    hardware_compatible: HardwareCompatible = "no"  # other GPUs too, somewhat slower
    platform: Platform = "this"  # windows-x86_64: build on Linux for Windows
    timing_cache: str | None = None  # folder for kernel timings; the next build of the same model is faster

    def __post_init__(self) -> None:
        """Refuse values that cannot be right.

        Raises:
            ConfigError: One is out of range or no choice.
        """
        _within("optimization_level", self.optimization_level, 0, 5)
        _within("workspace_mb", self.workspace_mb, 1, 1 << 20)
        _within("aux_streams", self.aux_streams, 0, 64)
        if not self.optimal_batches or len(set(self.optimal_batches)) != len(self.optimal_batches):
            raise ConfigError(f"optimal_batches is {list(self.optimal_batches)}; expected different batch sizes")
        for batch in self.optimal_batches:
            _within("optimal_batches", batch, 1, 1024)
        for name, choices in CHOICES.items():
            if getattr(self, name) not in get_args(choices):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; expected one of: {', '.join(get_args(choices))}")
        for name in ("tf32", "version_compatible"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; expected true or false")
        if not isinstance(self.timing_cache, (str, type(None))):
            raise ConfigError(f"timing_cache is {self.timing_cache!r}; expected a folder")

    def profiles(self, max_batch: int) -> list[tuple[int, int, int]]:
        """Smallest, optimal and largest batch of each optimisation profile; one of them takes `max_batch`.

        Raises:
            ConfigError: A batch size is larger than the engine's largest.
        """
        if max(self.optimal_batches) > max_batch:
            raise ConfigError(f"optimal_batches has {max(self.optimal_batches)}; the engine takes at most {max_batch}")
        single = len(self.optimal_batches) > 1
        return [(1, batch, 1 if batch == 1 and single else max_batch) for batch in self.optimal_batches]


OPTION_NAMES = tuple(entry.name for entry in fields(BuilderOptions))


def options_from_settings(settings: Mapping[str, Any]) -> BuilderOptions:
    """Options from a recipe's table or the command line.

    Raises:
        ConfigError: A name is not known or a value cannot be right.
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


def _within(name: str, value: object, least: int, most: int) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ConfigError(f"{name} is {value!r}; expected a whole number from {least} to {most}")
