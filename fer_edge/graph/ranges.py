"""Activation ranges of a checkpoint, as a readable file from which the int8 graph is rebuilt bit for bit."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from fer_edge._files import sha256
from fer_edge._settings import Finite, NonNegative, convert
from fer_edge.choices import CalibrationMethod, LayerKind
from fer_edge.errors import ConfigError, DataError, NonFiniteError

FORMAT_VERSION = 1
MAX_BYTES = 16 << 20
LEVELS = 127  # positive int8 levels
DEFAULT_KINDS: tuple[LayerKind, ...] = ("conv", "linear")


class Range(NamedTuple):
    """Range of one tensor."""

    low: Finite  # smallest value
    high: Finite  # largest value
    magnitude: NonNegative  # value that is quantised to 127


@dataclass(frozen=True)
class Ranges:
    """Ranges of a checkpoint's activations, and the layers to quantise."""

    checkpoint: str  # SHA-256 of the checkpoint that they were measured on
    method: CalibrationMethod
    batch: int  # images per batch
    images: dict[str, Any]  # source, seed, count, classes and SHA-256 of the calibration set
    tensors: Mapping[str, Range]
    layer_kinds: tuple[LayerKind, ...] = DEFAULT_KINDS  # kinds of layers to quantise
    float_layers: tuple[str, ...] = ()  # names of layers of these kinds that stay in float
    search: dict[str, Any] = field(default_factory=dict)  # budget and outcome of the search for `float_layers`

    def to_json(self) -> str:
        """Return the content of a ranges file, one tensor per line.

        Raises:
            NonFiniteError: NaN or infinity in a value, which `read_ranges` would refuse.
        """
        if problem := _find_invalid(self.tensors, self.images, self.search):
            raise NonFiniteError(f"{problem}; expected finite numbers: calibrate again")
        plain = {"format": FORMAT_VERSION, **asdict(self)}
        tensors = plain.pop("tensors")
        lines = [f"  {json.dumps(name)}: {json.dumps(list(values))}" for name, values in tensors.items()]
        head = json.dumps(plain, indent=1, sort_keys=True).removesuffix("\n}")
        return head + ',\n "tensors": {\n' + ",\n".join(lines) + "\n }\n}\n"

    def sha256(self) -> str:
        """Return the hash of the ranges file's content."""
        return sha256(self.to_json().encode())

    def with_float_layers(self, names: Iterable[str], **search: Any) -> Ranges:
        """Return the same ranges with other float layers.

        Args:
            names: Layers that stay in float.
            search: Budget and outcome of the search that chose them.
        """
        return replace(self, float_layers=tuple(sorted(names)), search=search)

    def magnitude(self, tensor: str) -> float:
        """Return the magnitude of a tensor that is quantised to 127.

        Raises:
            DataError: Tensor without a range.
        """
        if tensor not in self.tensors:
            raise DataError(f"the ranges have no tensor {tensor}: they are of another model; calibrate this one")
        return self.tensors[tensor].magnitude


def read_ranges(path: Path) -> Ranges:
    """Read a ranges file.

    Raises:
        DataError: Missing or malformed file.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} has {path.stat().st_size} bytes; ranges files have at most {MAX_BYTES}")
        return ranges_from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"ranges {path} cannot be read: {error}; name another file, or calibrate again") from error
    except (AttributeError, ConfigError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is not a ranges file that this version can read: {error!r}; calibrate again"
        ) from error


def ranges_from_json(text: str) -> Ranges:
    """Parse and check the content of a ranges file.

    Raises:
        ValueError: Invalid JSON, another format version or a number that is not finite.
        AttributeError, KeyError, RecursionError: Content that is not a table, has no version or is nested too deeply.
        ConfigError: Unknown name, or a value of another type or out of bounds.
    """
    data = json.loads(text)
    version = data.pop("format")
    if version != FORMAT_VERSION:
        raise ValueError(f"format {version!r}; this version reads {FORMAT_VERSION}: update fer-edge")
    if problem := _find_invalid({}, data.get("images"), data.get("search")):
        raise ValueError(problem)
    return convert(data, Ranges)


def _find_invalid(tensors: Mapping[str, Range], *tables: object) -> str:
    """Describe the first value that is not allowed in a ranges file; empty text if all are valid."""
    for name, values in tensors.items():
        if not all(map(math.isfinite, values)) or values.magnitude < 0:
            return f"the range of {name} is {tuple(values)}"
    try:
        json.dumps(tables, allow_nan=False)
    except ValueError:
        return "a number under images or search is NaN or infinite"
    return ""
