"""Graphs with one input of free size, such as the networks that find faces; bundles are run by a `Runner` instead."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fer_edge.engines.threads import LIMIT
from fer_edge.errors import EngineError


class Port(NamedTuple):
    """Input of a graph."""

    name: str
    shape: tuple[int | None, ...]  # None: any size
    dtype: np.dtype[Any]


class Execution(ABC):
    """A graph compiled for one input shape. Callers make sure that calls do not overlap.

    Args:
        shape: Shape of the input.
        dtype: Type of the input.
        threads: CPU threads of a run, which count for the limit of the process; None: not counted.

    Attributes:
        input: Input array, which the caller fills before each run.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], threads: int | None) -> None:
        self.input: npt.NDArray[Any] = np.zeros(shape, dtype)
        self._threads = threads

    def run(self) -> Mapping[str, npt.NDArray[Any]]:
        """Run the graph on `input`.

        Returns:
            Outputs by name; the engine may overwrite them in the next run.

        Raises:
            EngineError: The engine failed.
        """
        try:
            LIMIT.acquire(self, self._threads)
            return self._run()
        finally:
            LIMIT.release(self)

    @abstractmethod
    def _run(self) -> Mapping[str, npt.NDArray[Any]]:
        """Run the graph; results and errors as for `run`."""


class Graph(ABC):
    """An ONNX graph that an engine has read.

    Attributes:
        port: The input.
        outputs: Names of the outputs.
    """

    port: Port
    outputs: tuple[str, ...]

    @abstractmethod
    def compile(self, shape: tuple[int, ...]) -> Execution:
        """Compile the graph for an input shape.

        Raises:
            EngineError: Shape that the graph does not accept, or failure of the engine.
        """


def single_input(names: list[str]) -> str:
    """Return the name of the only input.

    Raises:
        EngineError: Several inputs, or none.
    """
    if len(names) != 1:
        raise EngineError(f"the graph has {len(names)} inputs ({', '.join(names) or 'none'}); expected one, an image")
    return names[0]
