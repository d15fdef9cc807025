"""How an engine is built, as recipes and the command line name it."""

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
    """Builder options of TensorRT and TensorRT-RTX; what a version lacks is refused, not ignored."""

    # 0 to 5: a higher level tries more kernels, takes longer and may run faster. None: the builder's default.
    optimization_level: Annotated[int, Meta(ge=0, le=5)] | None = None
    # Each gets an optimisation profile of its own: kernels are chosen for that batch size. Beside others, the profile
    # for 1 takes single frames only. With TensorRT-RTX each profile adds the size of an engine to the file.
    optimal_batches: tuple[Annotated[int, Meta(ge=1, le=1024)], ...] = (1,)
    # Scratch memory that a kernel may use; None: all of the GPU's.
    workspace_mb: Annotated[int, Meta(ge=1, le=1 << 20)] | None = None
    # Number of streams for independent layers beside the runner's own; None: TensorRT's heuristic.
    aux_streams: Annotated[int, Meta(ge=0, le=64)] | None = None
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
        convert_fields(self)
        if not self.optimal_batches or len(set(self.optimal_batches)) != len(self.optimal_batches):
            raise ConfigError(f"optimal_batches is {list(self.optimal_batches)}; expected different batch sizes")

    def profiles(self, max_batch: int) -> list[tuple[int, int, int]]:
        """Smallest, optimal and largest batch of each optimisation profile; one of them takes `max_batch`.

        Raises:
            ConfigError: A batch size is larger than the engine's largest.
        """
        if max(self.optimal_batches) > max_batch:
            raise ConfigError(f"optimal_batches has {max(self.optimal_batches)}; the engine takes at most {max_batch}")
        single = len(self.optimal_batches) > 1
        return [(1, batch, 1 if batch == 1 and single else max_batch) for batch in self.optimal_batches]


def options_from_settings(settings: Mapping[str, Any]) -> BuilderOptions:
    """Options from a recipe's table or the command line.

    Raises:
        ConfigError: A name is not known or a value cannot be right.
    """
    batches = settings.get("optimal_batches")
    values = {**settings, "optimal_batches": [batches]} if isinstance(batches, int) else settings
    return convert(values, BuilderOptions, "options")
