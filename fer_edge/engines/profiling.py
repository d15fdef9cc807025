"""The second seam: what an engine tells of its layers, and how fast its own kernels can be on this machine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from fer_edge.engines.base import Artifact, RunOptions

INT8 = ("i8", "u8")


@dataclass(frozen=True)
class Layer:
    """One kernel of a running engine: what it does in one inference."""

    name: str
    kind: str  # the engine's word: Convolution, FullyConnected, Subgraph
    kernel: str  # the engine's name of the code that runs
    precision: str  # of its inputs: f32, u8, i8
    sources: tuple[str, ...]  # nodes of the deploy graph that it covers
    microseconds: float  # mean of the middle half of the repeats
    macs: int  # multiply-accumulates; 0 where counting them means nothing
    bytes: int  # of inputs, weights and outputs, each once


@dataclass(frozen=True)
class Peak:
    """The fastest that one kind of kernel ran."""

    name: str  # "fp32 GEMM", "int8 GEMM", "fp32 convolution", "memory"
    precision: str  # f32, u8 or i8
    kernel: str
    per_second: float  # multiply-accumulates; bytes for memory


class Profiler(ABC):
    """Looks into an engine. Slower than a runner: use it beside one, not in its place."""

    @abstractmethod
    def layers(self, artifact: Artifact, options: RunOptions, repeats: int) -> list[Layer]:
        """Run one image so often and tell what each layer took.

        Raises:
            EngineError: The engine refused the model.
        """

    @abstractmethod
    def peaks(self, options: RunOptions, repeats: int) -> list[Peak]:
        """Run large chained products, convolutions and a copy, and tell the best of so many runs.

        Raises:
            EngineError: The engine refused one of them.
        """
