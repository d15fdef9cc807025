"""Build options of TensorRT and TensorRT-RTX, from recipes and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from msgspec import Meta

from fer_edge._settings import convert, convert_fields
from fer_edge.errors import ConfigError

Weights = Literal["inside", "stripped"]
HardwareCompatible = Literal["no", "ampere-plus", "same-compute-capability"]
Platform = Literal["this", "windows-x86_64"]


@dataclass(frozen=True)
class BuilderOptions:
    """Builder options of both products. An option that the installed version lacks is refused, not ignored."""

    # None: the builder's default. A higher level tries more kernels: a longer build, possibly a faster engine.
    optimization_level: Annotated[int, Meta(ge=0, le=5)] | None = None
    # Batch sizes with their own optimisation profile, for which kernels are chosen. If there are several profiles, the
    # profile of batch size 1 accepts single images only. With TensorRT-RTX each profile adds an engine's size to the
    # file.
    optimal_batches: tuple[Annotated[int, Meta(ge=1, le=1024)], ...] = (1,)
    # Scratch memory that a kernel may use, in MiB; None: all GPU memory.
    workspace_mb: Annotated[int, Meta(ge=1, le=1 << 20)] | None = None
    # Number of extra streams for independent layers; None: TensorRT's heuristic.
    aux_streams: Annotated[int, Meta(ge=0, le=64)] | None = None
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
        convert_fields(self)
        if not self.optimal_batches or len(set(self.optimal_batches)) != len(self.optimal_batches):
            raise ConfigError(f"optimal_batches is {list(self.optimal_batches)}; expected different batch sizes")

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


def options_from_settings(settings: Mapping[str, Any]) -> BuilderOptions:
    """Create options from a recipe's table or from the command line.

    Args:
        settings: Values by option name; `optimal_batches` may also be a single batch size.

    Raises:
        ConfigError: Unknown name, or invalid value.
    """
    batches = settings.get("optimal_batches")
    values = {**settings, "optimal_batches": [batches]} if isinstance(batches, int) else settings
    return convert(values, BuilderOptions, "options")
