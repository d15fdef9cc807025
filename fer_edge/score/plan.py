"""Plan of a bulk scoring: settings, and the items of each shard, written once into the folder of the results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from fer_edge._files import SHOWN_HASH, atomic_path, file_sha256
from fer_edge._require import require
from fer_edge._settings import convert
from fer_edge._typed import JSON_ERRORS
from fer_edge.choices import Detail
from fer_edge.errors import ConfigError, DataError
from fer_edge.score.columns import EXTRA
from fer_edge.score.items import Item, split_rows

# Readers of data sets, such as pyarrow's and Spark's, skip files whose names begin with an underscore.
NAME = "_plan.arrow"
VERSION = 1
KEY = b"fer_edge"
TYPES = {"shard": "int32", "kind": "string", "source": "string", "name": "string", "offset": "int64", "size": "int64"}
TYPES |= {"error": "string"}


@dataclass(frozen=True)
class Settings:
    """Settings that the rows depend on, besides the inputs."""

    model: str  # SHA-256 of the bundle
    bundle: str  # name in its manifest
    engine: str
    labels: tuple[str, ...]
    crop: bool
    detail: Detail
    max_pixels: int
    shard: int  # images of a shard
    version: int = VERSION


@dataclass(frozen=True)
class Plan:
    """Plan in a folder."""

    settings: Settings
    digest: str  # SHA-256 of the file, which each shard contains
    table: Any  # of pyarrow

    @cached_property
    def _shards(self) -> Any:
        return self.table["shard"].to_numpy()

    @cached_property
    def count(self) -> int:
        """Number of shards."""
        return int(self._shards[-1]) + 1

    @cached_property
    def weights(self) -> list[int]:
        """Number of images by shard."""
        weights = [0] * self.count
        columns = (self.table[name].to_pylist() for name in ("shard", *Item._fields))
        for shard, *values in zip(*columns, strict=True):
            weights[shard] += Item(*values).weight
        return weights

    def items(self, shard: int) -> Iterator[Item]:
        """Yield the items of a shard.

        Args:
            shard: Number of the shard.
        """
        start, end = (int(place) for place in np.searchsorted(self._shards, [shard, shard + 1]))
        rows = self.table.slice(start, end - start)
        yield from (Item(*values) for values in zip(*(rows[name].to_pylist() for name in Item._fields), strict=True))


def divide(items: Sequence[Item], size: int) -> Iterator[tuple[int, Item]]:
    """Yield each item with the number of its shard; rows of a Parquet file are split, a video is not.

    Args:
        items: Items in their order.
        size: Number of images of a shard.
    """
    shard = filled = 0
    for item in items:
        rest = item
        while True:
            if filled and filled + rest.weight > size and not (rest.kind == "rows" and filled < size):
                shard, filled = shard + 1, 0
            room = size - filled
            if rest.kind != "rows" or rest.weight <= room:
                break
            part, rest = split_rows(rest, room)
            yield shard, part
            filled = size
        yield shard, rest
        filled += rest.weight


def open_plan(folder: Path, settings: Settings, items: Sequence[Item]) -> Plan:
    """Write the plan of a folder, or check that the present one is equal.

    Args:
        folder: Folder of the results.
        settings: Settings.
        items: Items in their order.

    Raises:
        ConfigError: Folder with results of another model, other settings or other inputs.
        DataError: Plan that is damaged.
        FerEdgeError: Folder that cannot be written.
    """
    arrow, ipc = (require(name, EXTRA, "scoring") for name in ("pyarrow", "pyarrow.ipc"))
    table = _table(arrow, settings, items)
    path = folder / NAME
    if path.exists():
        plan = read_plan(folder)
        _refuse_other_settings(folder, plan.settings, settings)
        if not plan.table.equals(table):
            raise ConfigError(f"{folder} has the results of other inputs: {_difference(plan.table, table)}; {_REMEDY}")
        return plan
    if any(folder.glob("part-*.parquet")):
        raise ConfigError(f"{folder} has Parquet files but no {NAME}; name another folder")
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as file,
        ipc.new_file(file, table.schema) as writer,
    ):
        writer.write_table(table)
    return read_plan(folder)


def _table(arrow: Any, settings: Settings, items: Sequence[Item]) -> Any:
    columns: dict[str, list[Any]] = {name: [] for name in TYPES}
    for shard, item in divide(items, settings.shard):
        for name, value in zip(TYPES, (shard, *item), strict=True):
            columns[name].append(value)
    schema = arrow.schema([(name, arrow.type_for_alias(kind)) for name, kind in TYPES.items()])
    schema = schema.with_metadata({KEY: msgspec.json.encode(asdict(settings))})
    return arrow.table(columns, schema=schema).combine_chunks()


_REMEDY = "name another folder, or repeat the former command"


def read_plan(folder: Path) -> Plan:
    """Read the plan of a folder; the table stays on disk until it is used.

    Raises:
        DataError: Plan that is missing or damaged.
    """
    arrow, ipc = (require(name, EXTRA, "scoring") for name in ("pyarrow", "pyarrow.ipc"))
    path = folder / NAME
    try:
        table = ipc.open_file(arrow.memory_map(str(path))).read_all()
        data = msgspec.json.decode((table.schema.metadata or {})[KEY])
        if table.schema.names != [*TYPES] or not table.num_rows:
            raise KeyError("columns")
        return Plan(convert(data, Settings, "the plan", DataError), file_sha256(path), table)
    except (arrow.ArrowException, OSError, KeyError, *JSON_ERRORS) as error:
        raise DataError(f"{path} is missing or damaged ({error}); score into another folder") from error


def _refuse_other_settings(folder: Path, before: Settings, now: Settings) -> None:
    different = [
        f"{field.name} was {_short(getattr(before, field.name))}, and is {_short(getattr(now, field.name))}"
        for field in fields(Settings)
        if getattr(before, field.name) != getattr(now, field.name)
    ]
    if different:
        raise ConfigError(f"{folder} has the results of another run: {', '.join(different)}; {_REMEDY}")


def _short(value: object) -> str:
    text = ", ".join(value) if isinstance(value, tuple) else str(value)
    return f"{text[:SHOWN_HASH]}..." if len(text) == 64 else text


def _difference(before: Any, now: Any) -> str:
    """Describe the first difference of two tables of items."""
    counts = f"{before.num_rows} entries before, {now.num_rows} now"
    for name in ("source", "name", "offset", "size", "error", "kind", "shard"):
        pairs = enumerate(zip(before[name].to_pylist(), now[name].to_pylist(), strict=False))
        place = next((index for index, (old, new) in pairs if old != new), None)
        if place is not None:
            old, new = (table["source"][place].as_py() for table in (before, now))
            return f"{counts}, the first difference is {old if old == new else f'{new} in place of {old}'}"
    longer = before if before.num_rows > now.num_rows else now
    source = longer["source"][min(before.num_rows, now.num_rows)].as_py()
    return f"{counts}, the first difference is {source}"
