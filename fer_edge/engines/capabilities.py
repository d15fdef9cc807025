"""Optional abilities of an engine: layer profiler, tensors inside graphs, a Triton backend, diagnosis of its system."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from fer_edge.choices import InstanceKind

if TYPE_CHECKING:
    from fer_edge.engines.base import Artifact, Images, RunOptions

INT8 = ("i8", "u8")
Tensors = dict[str, npt.NDArray[Any]]


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


class TensorReader(ABC):
    """A graph on an engine, with some inner tensors as outputs.

    Args:
        model: Typed ONNX graph in which these tensors are outputs.
        names: Tensors to read.
    """

    reads_int8_together = True  # False: reading a tensor of an int8 graph may change later ones

    @abstractmethod
    def __init__(self, model: bytes, names: Sequence[str]) -> None: ...

    @abstractmethod
    def read(self, images: Images) -> Tensors:
        """Run a batch and return the tensors, (N, ...) each."""


@dataclass(frozen=True)
class TritonSettings:
    """Settings of Triton that depend on how an engine was built."""

    profiles: int = 0  # optimisation profiles of the engine file
    graph_batches: tuple[int, ...] = ()  # batch sizes of CUDA graphs; empty: no graphs
    parameters: Mapping[str, str] = field(default_factory=dict)  # of the backend, by name
    server_options: tuple[str, ...] = ()  # options that Triton has to be started with


@dataclass(frozen=True)
class TritonBackend:
    """Backend of Triton Inference Server that runs an engine's models."""

    name: str
    file: str  # name of the model file
    kinds: tuple[InstanceKind, ...]  # where it runs instances; the first is the default

    def settings(self, version: str, options: Mapping[str, Any], max_batch: int, rebuild: str) -> TritonSettings:
        """Return the settings for a built engine; none unless overridden.

        Args:
            version: Version of the engine that built it.
            options: Its build options, from the bundle.
            max_batch: Largest batch.
            rebuild: Command that builds it again, for messages.

        Raises:
            ConfigError: Unknown build options.
            UnsupportedTargetError: Engine file that Triton cannot run.
        """
        return TritonSettings()


@dataclass(frozen=True)
class Finding:
    """A problem and its remedy."""

    problem: str
    remedy: str


@dataclass(frozen=True)
class SystemReport:
    """State of the driver, devices and packages that an engine needs."""

    facts: Mapping[str, Any]  # plain data
    devices: tuple[str, ...]  # one line for each
    findings: tuple[Finding, ...]
    concerned: bool  # whether there is a device or an installed engine, so that the findings matter
