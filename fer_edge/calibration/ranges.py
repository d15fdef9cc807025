"""Activation ranges: what calibration found, as a file that people can read and that rebuilds the graph bit for bit."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from fer_edge._files import sha256, write_atomically
from fer_edge._settings import Finite, NonNegative, convert
from fer_edge._text import did_you_mean
from fer_edge.calibration.graph import KINDS, Graph, Kind
from fer_edge.calibration.histograms import METHODS, Method, magnitude, observe
from fer_edge.calibration.images import CalibrationImages
from fer_edge.errors import ConfigError, DataError, NonFiniteError

FORMAT_VERSION = 1
BATCH = 16  # images at a time; the moving average depends on it
DIGITS = 4  # of a range; no engine can tell more, and other processors round the last bits otherwise
MAX_BYTES = 16 << 20
DEFAULT_KINDS: tuple[Kind, ...] = ("conv", "linear")


class Range(NamedTuple):
    """Of one tensor."""

    low: Finite  # smallest value seen
    high: Finite  # largest
    magnitude: NonNegative  # what becomes 127


@dataclass(frozen=True)
class Ranges:
    """Ranges of a checkpoint's activations, and which layers are to be int8."""

    checkpoint: str  # fingerprint of what they were measured on
    method: Method
    batch: int  # images at a time
    images: dict[str, Any]  # which calibration set: source, seed, count, SHA-256
    tensors: Mapping[str, Range]
    kinds: tuple[Kind, ...] = DEFAULT_KINDS  # kinds of layers that become int8,
    kept: tuple[str, ...] = ()  # but for these
    search: dict[str, Any] = field(default_factory=dict)  # budget and outcome of the search for `kept`

    def to_json(self) -> str:
        """The stored form: one tensor a line.

        Raises:
            NonFiniteError: A value is NaN or infinite, which `read_ranges` would refuse.
        """
        if wrong := _unreadable(self.tensors, self.images, self.search):
            raise NonFiniteError(f"{wrong}; expected finite numbers: calibrate again")
        plain = {"format": FORMAT_VERSION, **asdict(self)}
        tensors = plain.pop("tensors")
        lines = [f"  {json.dumps(name)}: {json.dumps(list(found))}" for name, found in tensors.items()]
        head = json.dumps(plain, indent=1, sort_keys=True).removesuffix("\n}")
        return head + ',\n "tensors": {\n' + ",\n".join(lines) + "\n }\n}\n"

    def sha256(self) -> str:
        """Of the stored form."""
        return sha256(self.to_json().encode())

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write_atomically(path, self.to_json().encode())

    def keeping(self, kept: Iterable[str], **search: Any) -> Ranges:
        """The same ranges with layers kept in float."""
        return replace(self, kept=tuple(sorted(kept)), search=search)

    def magnitude(self, tensor: str) -> float:
        """What becomes 127 of a tensor.

        Raises:
            DataError: The calibration did not see it.
        """
        if tensor not in self.tensors:
            raise DataError(
                f"the ranges have no tensor {tensor}: they were made of another model; calibrate this one again"
            )
        return self.tensors[tensor].magnitude


def read_ranges(path: Path) -> Ranges:
    """Read a file of ranges.

    Raises:
        DataError: It is missing or not understood.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} has {path.stat().st_size} bytes; ranges have at most {MAX_BYTES}")
        return ranges_from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"ranges {path} cannot be read: {error}; name another file, or calibrate again") from error
    except (AttributeError, ConfigError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise DataError(f"{path} holds no ranges that this version understands: {error!r}; calibrate again") from error


def ranges_from_json(text: str) -> Ranges:
    """Parse the content of a ranges file.

    Raises:
        ValueError: Invalid JSON, another format version or a figure that is not finite; AttributeError, KeyError or
            RecursionError: content of another kind.
        ConfigError: Unknown name, or a value of another type or out of bounds.
    """
    data = json.loads(text)
    version = data.pop("format")
    if version != FORMAT_VERSION:
        raise ValueError(f"format {version}; this version reads {FORMAT_VERSION}: update fer-edge")
    if wrong := _unreadable({}, data.get("images"), data.get("search")):
        raise ValueError(wrong)
    return convert(data, Ranges)


def measure(
    model: bytes,
    checkpoint: str,
    images: CalibrationImages,
    method: Method = "moving-average",
    kinds: tuple[Kind, ...] = DEFAULT_KINDS,
    progress: Callable[[int], None] | None = None,
) -> Ranges:
    """Ranges of every activation of the float deploy graph.

    Args:
        model: The float deploy graph.
        checkpoint: SHA-256 of the checkpoint it was exported from.
        images: What to run.
        method: Where to cut.
        kinds: Of layers that are to be int8.
        progress: Told how many images are done.

    Raises:
        ConfigError: There is no such method or kind.
        NonFiniteError: A tensor holds NaN or infinity.
    """
    check_choices(method, kinds)
    tensors = Graph.parse(model).activations()
    seen = observe(model, lambda: images.batches(BATCH), tensors, method=method, progress=progress)
    found = {
        name: Range(_round(one.low), _round(one.high), _round(magnitude(one, method))) for name, one in seen.items()
    }
    return Ranges(checkpoint, method, BATCH, images.set.summary(), found, kinds)


def check_choices(method: str, kinds: Iterable[str]) -> None:
    """Refuse what there is not.

    Raises:
        ConfigError: There is no such method or kind of layer.
    """
    if method not in METHODS:
        raise ConfigError(f"no method {method!r}; expected one of: {', '.join(METHODS)}{did_you_mean(method, METHODS)}")
    for kind in kinds:
        if kind not in KINDS:
            hint = did_you_mean(kind, KINDS)
            raise ConfigError(f"no kind of layer {kind!r}; expected some of: {', '.join(KINDS)}{hint}")


def _unreadable(tensors: Mapping[str, Range], *tables: object) -> str:
    """Name what no file of ranges may hold; an empty text where there is nothing of it."""
    for name, values in tensors.items():
        if not all(map(math.isfinite, values)) or values.magnitude < 0:
            return f"the range of {name} is {tuple(values)}"
    try:
        json.dumps(tables, allow_nan=False)
    except ValueError:
        return "a figure of the images or of the search is NaN or infinite"
    return ""


def _round(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
