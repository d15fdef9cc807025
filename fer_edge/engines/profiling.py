"""The optional profiler interface: time per layer, and the peak speed of the engine's own kernels on this machine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from fer_edge.engines.base import Artifact, RunOptions

INT8 = ("i8", "u8")


@dataclass(frozen=True)
class Layer:
    """One kernel of a running engine, with its work and time in one inference."""

    name: str
    kind: str  # the engine's name of the operator type: Convolution, FullyConnected, Subgraph
    kernel: str  # the engine's name of the kernel implementation
    precision: str  # type of the inputs: f32, u8, i8
    sources: tuple[str, ...]  # nodes of the deploy graph that the kernel computes
    microseconds: float  # interquartile mean over the repeats
    macs: int  # multiply-accumulates; 0 for operators that have none
    bytes: int  # size of inputs, weights and outputs, each counted once


@dataclass(frozen=True)
class Peak:
    """Highest measured speed of one kind of kernel."""

    name: str  # "fp32 GEMM", "int8 GEMM", "fp32 convolution", "memory"
    precision: str  # f32, u8 or i8
    kernel: str
    per_second: float  # multiply-accumulates per second; bytes per second for memory


class Profiler(ABC):
    """Measures the layers of an engine. Slower than a runner: use it next to a runner, not as one."""

    @abstractmethod
    def layers(self, artifact: Artifact, options: RunOptions, repeats: int) -> list[Layer]:
        """Time every layer over `repeats` runs of one image.

        Raises:
            EngineError: The engine refused the model.
        """

    @abstractmethod
    def peaks(self, options: RunOptions, repeats: int) -> list[Peak]:
        """Measure the peak speed of matrix products, convolutions and a memory copy, the best of `repeats` runs each.

        Raises:
            EngineError: The engine refused one of these networks.
        """
