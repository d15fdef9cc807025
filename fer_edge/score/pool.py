"""Worker processes on this machine: each scores one shard at a time, and is replaced if it dies."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

from fer_edge.errors import EngineError, FerEdgeError
from fer_edge.hardware.cpu import cores
from fer_edge.score.shards import Summary

MAX_ATTEMPTS = 3  # deaths of workers during one shard, after which it is left out
MAX_STARTS = 3  # workers that die in a row before they are ready
ADVANCE_SECONDS = 0.5  # between messages of progress
EXIT_SECONDS = 5.0  # for idle workers to exit


@dataclass(frozen=True)
class WorkerSettings:
    """Settings that a worker opens its engines with."""

    folder: Path
    bundle: Path
    threads: int | None
    allow_host_code: bool


@dataclass(frozen=True)
class Outcome:
    """End of a shard: its summary, or the reason why it is left out."""

    shard: int
    summary: Summary | None = None
    error: str = ""


def score_shards(
    settings: WorkerSettings, shards: Iterable[int], workers: int | None, advance: Callable[[int], None]
) -> Iterator[Outcome]:
    """Yield each shard when its file is written, or when it is left out since it has killed several workers.

    Args:
        settings: Settings of the workers.
        shards: Numbers of the shards.
        workers: Number of processes; None: one for each usable core.
        advance: Function that receives the number of images just scored; negative if a shard begins again.

    Raises:
        FerEdgeError: Failure of an engine or of the disk, which would stop every shard.
    """
    pool = _Pool(settings, shards, advance)
    try:
        yield from pool.run(workers or cores())
    except BaseException:
        pool.kill()
        raise
    pool.close()


class _Worker:
    """Worker process, as its driver holds it.

    Args:
        settings: Settings of the worker.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        # Not forked: engines have threads, which a fork would not copy.
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_work, args=(other, settings), name="fer-edge score", daemon=True)
        self.process.start()
        other.close()  # so that the end of the process ends the connection
        self.is_ready = False
        self.shard: int | None = None
        self.advanced = 0  # images of the shard

    def assign(self, shard: int | None) -> None:
        """Start a shard; None: the worker is idle."""
        self.shard, self.advanced = shard, 0
        if shard is not None:
            with suppress(OSError):  # of a dead worker, the connection ends
                self.connection.send(shard)

    def close(self) -> None:
        """Release process and connection after the process has ended."""
        self.connection.close()
        self.process.join()
        self.process.close()


class _Pool:
    def __init__(self, settings: WorkerSettings, shards: Iterable[int], advance: Callable[[int], None]) -> None:
        self._settings, self._advance = settings, advance
        self._waiting = deque(shards)
        self._attempts: Counter[int] = Counter()
        self._workers: list[_Worker] = []
        self._failed_starts = 0

    def run(self, workers: int) -> Iterator[Outcome]:
        """Yield the shards as they end."""
        while self._waiting or any(worker.shard is not None for worker in self._workers):
            self._start(workers)
            for connection in wait([worker.connection for worker in self._workers]):
                worker = next(worker for worker in self._workers if worker.connection is connection)
                outcome = self._receive(worker)
                if outcome is not None:
                    yield outcome

    def _start(self, workers: int) -> None:
        """Start workers while there are shards for them."""
        starting = sum(not worker.is_ready for worker in self._workers)
        while len(self._workers) < workers and starting < len(self._waiting):
            self._workers.append(_Worker(self._settings))
            starting += 1

    def _receive(self, worker: _Worker) -> Outcome | None:
        try:
            kind, value = worker.connection.recv()
        except (EOFError, OSError):
            return self._remove_dead(worker)
        if kind == "failed":
            raise value
        if kind == "advanced":
            worker.advanced += value
            self._advance(value)
            return None
        shard, worker.is_ready, self._failed_starts = worker.shard, True, 0
        worker.assign(self._waiting.popleft() if self._waiting else None)
        return None if shard is None else Outcome(shard, value)

    def _remove_dead(self, worker: _Worker) -> Outcome | None:
        """Remove a dead worker, and put its shard back unless it has killed several."""
        worker.process.join()
        cause = _cause(worker.process.exitcode)
        shard = worker.shard
        self._workers.remove(worker)
        worker.close()
        if shard is None:
            self._failed_starts += not worker.is_ready
            if self._failed_starts >= MAX_STARTS:
                raise EngineError(f"{MAX_STARTS} workers {cause} at their start; run fer-edge doctor, or use fewer")
            return None
        self._advance(-worker.advanced)
        self._attempts[shard] += 1
        if self._attempts[shard] >= MAX_ATTEMPTS:
            return Outcome(shard, error=f"{MAX_ATTEMPTS} workers {cause} during it")
        self._waiting.append(shard)  # last: the other shards come first
        return None

    def close(self) -> None:
        """End idle workers."""
        for worker in self._workers:
            worker.connection.close()
        deadline = time.monotonic() + EXIT_SECONDS
        for worker in self._workers:
            worker.process.join(max(deadline - time.monotonic(), 0))
        self.kill()

    def kill(self) -> None:
        """End all workers at once; unfinished files disappear at the next run."""
        for worker in self._workers:
            worker.process.kill()
        while self._workers:
            self._workers.pop().close()


def _cause(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        with suppress(ValueError):
            name = signal.Signals(-exit_code).name
            return f"were killed by {name}" + (" (perhaps for lack of memory)" if name == "SIGKILL" else "")
    return f"ended with exit code {exit_code}"


def _work(connection: Connection, settings: WorkerSettings) -> None:
    """Score shards in a worker process until the driver closes the connection or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the driver, which ends the workers
    from fer_edge.score.scorer import Scorer

    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the driver has ended
        try:
            with Scorer(settings.folder, settings.bundle, settings.threads, settings.allow_host_code) as scorer:
                connection.send(("ready", None))
                while True:
                    shard = connection.recv()
                    summary = scorer.score(shard, _Advances(connection))
                    connection.send(("done", summary))
        except FerEdgeError as error:
            connection.send(("failed", error))


class _Advances:
    """Function that sends progress to the driver, and ends the process if the driver has ended.

    Args:
        connection: Connection to the driver.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._count, self._sent = 0, time.monotonic()

    def __call__(self, count: int) -> None:
        self._count += count
        now = time.monotonic()
        if now - self._sent >= ADVANCE_SECONDS:
            self._connection.send(("advanced", self._count))
            self._count, self._sent = 0, now
