"""Results of the Python API: dataclasses that print as tables and convert to JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, is_dataclass
from os import PathLike, fspath
from typing import Any

WIDTH = 80  # columns of a printed result


@dataclass(frozen=True)
class Table:
    """One table of a result."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]


@dataclass(frozen=True)
class Quantity:
    """Annotation of a field with what CSV files show of it: `seconds: Annotated[float, Quantity(unit="s")]`."""

    title: str = ""  # empty: the name of the field
    unit: str = ""
    key: str = ""  # format of a field that distinguishes one of several results, as in "{:g} Hz"; empty for others


class Result:
    """Base class of results: `print(result)` shows tables of at most 80 columns, `to_json` returns JSON."""

    def tables(self) -> Sequence[Table]:
        """Return the tables, in the order in which they are printed; none by default."""
        return ()

    def notes(self) -> Sequence[str]:
        """Return sentences below the tables, such as a verdict; none by default."""
        return ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: numbers, texts, lists and dicts; NaN and infinity become None."""
        return plain_data(vars(self))

    def to_json(self, *, indent: int | None = 1) -> str:
        """Return `to_dict` as JSON (RFC 8259).

        Args:
            indent: Spaces of one level; None puts everything on one line. 1 by default.
        """
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def __str__(self) -> str:
        from fer_edge.tables import text_of_table

        return "\n".join([*(text_of_table(table, WIDTH) for table in self.tables()), *self.notes()])


def plain_data(value: Any) -> Any:
    """Convert dataclasses, paths and containers to plain data; NaN and infinity become None."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain_data(asdict(value))
    if isinstance(value, dict):
        return {name: plain_data(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_data(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return fspath(value) if isinstance(value, PathLike) else value
