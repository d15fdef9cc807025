"""Scoring on a Ray cluster: actors of Ray Data score the same shards into the same files."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

import fer_edge
from fer_edge._require import require
from fer_edge._settings import convert
from fer_edge._text import one_line
from fer_edge.errors import ConfigError, DataError, EngineError, FerEdgeError, shown
from fer_edge.score.pool import MAX_ATTEMPTS, Outcome, WorkerSettings
from fer_edge.score.shards import Summary, count_attempt, end_attempts, read_summary, summary_text

if TYPE_CHECKING:
    from fer_edge.score.scorer import Scorer

CONNECT_SECONDS = 5.0
USAGE = "RAY_USAGE_STATS_ENABLED"  # 0 before the import keeps Ray from reporting its use to its makers
Row = dict[str, list[Any]]


def score_on_cluster(
    address: str,
    settings: WorkerSettings,
    shards: Iterable[int],
    workers: int | None,
    advance: Callable[[int], None],
) -> Iterator[Outcome]:
    """Yield each shard when its file is written, or when it is left out since it has killed several actors.

    Folder of the results, bundle and inputs have the same paths on all nodes. Ray moves numbers of shards only. If a
    node dies, Ray starts its shards again elsewhere; one whose file is there already is not scored twice.

    Args:
        address: Address of the cluster, host:port, or "auto" for the one of this machine.
        settings: Settings of the actors.
        shards: Numbers of the shards.
        workers: Number of actors; None: one for each CPU of the cluster but one, which remains for Ray.
        advance: Function that receives the number of images just scored.

    Raises:
        EngineError: Cluster that cannot be reached, or failure of Ray.
        EngineUnavailableError: Ray is not installed.
        FerEdgeError: Failure of an engine or of the disk, which would stop every shard.
    """
    with _connection(address) as ray:
        cpus = int(ray.cluster_resources().get("CPU", 1))
        actors = min(workers or cpus - 1, cpus - 1) or 1
        numbers = [*shards]
        try:
            items = [{"shard": number} for number in numbers]
            scored = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
                ShardActor,
                fn_constructor_args=(settings, fer_edge.__version__),
                batch_size=1,
                num_cpus=1,
                compute=ray.data.ActorPoolStrategy(size=min(actors, len(items))),
            )
            for row in scored.iter_rows():
                outcome = _outcome(row)
                if outcome.summary is not None:
                    advance(outcome.summary.images + len(outcome.summary.damaged))
                yield outcome
        except ray.exceptions.RayError as error:
            raise EngineError(f"Ray failed: {one_line(str(error))}; the same command does the other shards") from error


@contextmanager
def _connection(address: str) -> Iterator[Any]:
    """Connect to a cluster until the end of the block; a connection of the caller stays open."""
    os.environ[USAGE] = "0"
    ray = require("ray", "ray", "scoring on a cluster")
    data = require("ray.data", "ray", "scoring on a cluster")
    is_connected = ray.is_initialized()
    if not is_connected:
        try:
            _check_address(address)
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", configure_logging=True)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            reason = one_line(str(error))
            raise EngineError(f"no Ray cluster at {address} ({reason}); start one with: ray start --head") from error
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    try:
        yield ray
    finally:
        if not is_connected:
            ray.shutdown()


def _check_address(address: str) -> None:
    """Refuse an address at once where Ray would try for minutes, or start a cluster of its own.

    Raises:
        ConfigError: Text that is not an address.
        OSError: Address that nothing listens at.
    """
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise ConfigError(f"the Ray cluster is {shown(address)}; expected host:port, or auto for that of this machine")
    socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()


class ShardActor:
    """Actor that holds the engines, and scores shards.

    Args:
        settings: Settings of the actor.
        version: Version of fer-edge in the driver.
    """

    def __init__(self, settings: WorkerSettings, version: str) -> None:
        self._settings, self._version = settings, version
        self._scorer: Scorer | None = None

    def __call__(self, batch: Row) -> Row:
        """Score the shards of a batch of Ray.

        Args:
            batch: Column `shard` with their numbers.

        Returns:
            For each shard its number, its summary as text, the reason why it is left out, and the failure that ends the
            run; the last three are empty if they do not apply.
        """
        rows = [self._score(int(shard)) for shard in batch["shard"]]
        return {name: [row[name] for row in rows] for name in ("shard", "summary", "error", "failure")}

    def _score(self, shard: int) -> dict[str, Any]:
        row = {"shard": shard, "summary": "", "error": "", "failure": ""}
        try:
            scorer = self._open()
            summary = read_summary(self._settings.folder, shard, scorer.plan.digest)
            if summary is None:
                if count_attempt(self._settings.folder, shard) > MAX_ATTEMPTS:
                    return row | {"error": f"{MAX_ATTEMPTS} actors died during it"}
                summary = scorer.score(shard)
            end_attempts(self._settings.folder, shard)
        except FerEdgeError as error:
            return row | {"failure": str(error)}
        return row | {"summary": summary_text(summary)}

    def _open(self) -> Scorer:
        """Open the engines at the first shard, so that their failure reaches the driver."""
        if self._scorer is None:
            from fer_edge.score.scorer import Scorer

            if fer_edge.__version__ != self._version:
                raise DataError(
                    f"a node has fer-edge {fer_edge.__version__}; expected {self._version}, the version of the driver"
                )
            settings = self._settings
            self._scorer = Scorer(settings.folder, settings.bundle, settings.threads, settings.allow_host_code)
        return self._scorer


def _outcome(row: dict[str, Any]) -> Outcome:
    if row["failure"]:
        raise EngineError(row["failure"])
    if row["error"]:
        return Outcome(row["shard"], error=row["error"])
    data = msgspec.json.decode(row["summary"])
    return Outcome(row["shard"], convert(data, Summary, "the summary", DataError))
