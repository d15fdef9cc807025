"""Contenders: what is compared runs in a process of its own, and all take turns.

A process of its own keeps engines from each other's threads, settings and memory; turns give all the same share of
whatever else the machine does. The protocol is one line of JSON each way, so that a contender can be anything:

    it prints {"ready": {...}}                what it is: versions, sizes, anything for the record
    {"time": 10}  ->  {"nanoseconds": [...]}  the durations of ten queries, one after the other
    end of input                              it ends
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fer_edge._text import one_line
from fer_edge.benchmark.statistics import (
    Distribution,
    Estimate,
    distribution_from_samples,
    percentile,
    ratio_of_percentiles,
)
from fer_edge.errors import EngineError

WAKE_UP = 5  # queries of a turn that do not count: caches and clock are the last contender's
FEWEST_ROUNDS = 6  # of a comparison whose intervals mean something
PAUSE = 0.02  # seconds before a turn: the last contender's idle threads spin for a while, and would be in the way
Rounds = npt.NDArray[np.int64]  # (rounds, queries of a turn) nanoseconds


class Contender:
    """A process that runs queries when asked to.

    >>> with Contender("ours", ["python", "-m", "fer_edge.benchmark.worker", "asked.json"]) as contender:
    ...     contender.ask({"time": 10})
    """

    described: Mapping[str, Any]

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        self._command = command
        self._environment = environment

    def __enter__(self) -> Contender:
        # Its complaints go to a file: a pipe that nobody reads would fill up and stop it.
        self._complaints = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
            env=None if self._environment is None else dict(self._environment),
        )
        try:
            self.described = self._read()["ready"]
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(timeout=10)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._complaints.close()

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Send a line and wait for the answer.

        Raises:
            EngineError: It has ended, or answers otherwise; says what it complained about.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # reading tells why
        return self._read()

    def time(self, queries: int) -> list[int]:
        """Durations in nanoseconds."""
        durations: list[int] = self.ask({"time": queries})["nanoseconds"]
        if len(durations) != queries:
            raise EngineError(f"{self.name} was asked for {queries} queries and timed {len(durations)}")
        return durations

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        try:
            found = json.loads(line)
            if not isinstance(found, dict):
                raise ValueError(line)
        except ValueError:
            self._complaints.seek(0)
            said = one_line(self._complaints.read().strip()[-800:], 800) or f"nothing but {line[:200]!r}"
            raise EngineError(f"{self.name} gave no answer; it said: {said}") from None
        return found


@dataclass(frozen=True)
class Comparison:
    """A contender beside the first one; below 1 it is faster."""

    name: str
    latency: Distribution
    p50_ratio: Estimate  # the median over rounds of the ratio of the turns' medians
    p90_ratio: Estimate


class Timed(Protocol):
    """What can take turns: a `Contender`, or anything else that times its own queries."""

    @property
    def name(self) -> str:
        """Of its own among those that take turns."""

    def time(self, queries: int) -> list[int]:
        """Durations in nanoseconds, of queries one after the other."""


def take_turns(
    contenders: Sequence[Timed],
    rounds: int,
    turn: int,
    *,
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
    keep_rounds: bool = False,
) -> dict[str, Rounds]:
    """Let every contender run once a round, in a new order each time.

    Args:
        contenders: What is compared.
        rounds: How many.
        turn: Queries of a turn that count.
        seed: Of the orders.
        progress: Told the share that is done.
        keep_rounds: Whether Ctrl-C ends the comparison with the rounds that are done, if they are at least
            `FEWEST_ROUNDS`; it raises otherwise, and by default.
    """
    generator = np.random.default_rng(seed)
    times = {contender.name: np.zeros((rounds, turn), np.int64) for contender in contenders}
    for contender in contenders:
        contender.time(WAKE_UP + turn)
    done = 0
    try:
        for index in range(rounds):
            for chosen in generator.permutation(len(contenders)):
                contender = contenders[chosen]
                time.sleep(PAUSE)
                times[contender.name][index] = contender.time(WAKE_UP + turn)[WAKE_UP:]
            done = index + 1
            progress(done / rounds)
    except KeyboardInterrupt:
        if not keep_rounds or done < FEWEST_ROUNDS:
            raise
    return {name: durations[:done] for name, durations in times.items()}


def take_turns_of(
    commands: Mapping[str, Sequence[str]],
    rounds: int,
    turn: int,
    *,
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Rounds]:
    """Start a contender for each command, let them take turns, and end them; Ctrl-C keeps the rounds that are done.

    Raises:
        EngineError: One could not start, or ended.
    """
    with ExitStack() as stack:
        started = [stack.enter_context(Contender(name, command)) for name, command in commands.items()]
        return take_turns(started, rounds, turn, progress=progress, keep_rounds=True)


def comparisons(times: Mapping[str, Rounds]) -> list[Comparison]:
    """Every contender beside the first one, the first included."""
    first = next(iter(times.values()))
    found = []
    for name, own in times.items():
        medians = np.median(own, axis=1) / np.median(first, axis=1)
        ratio = percentile(medians, 0.5)
        found.append(
            Comparison(name, distribution_from_samples(own.ravel()), ratio, ratio_of_percentiles(own, first, 0.9))
        )
    return found
