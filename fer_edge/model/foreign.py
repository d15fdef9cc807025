"""Weights of other programs: reading PyTorch, safetensors and NumPy files as named tensors.

Nested dictionaries and lists are flattened to dotted names, so a wrapper ("state_dict", "model_ema") is a prefix of the
names like any other ("module.", "_orig_mod."). The prefix is chosen by the tensor names that the model expects.
"""

from __future__ import annotations

import argparse
import datetime
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from fer_edge._text import one_line
from fer_edge.errors import CheckpointError
from fer_edge.file_kind import describe_file

MAX_DEPTH = 8  # levels of nesting to search
# Words in prefixes of averaged weights.
AVERAGED = re.compile(r"ema|averag|swa|teacher|shadow|momentum", re.IGNORECASE)
NUMERIC = "?bBhHiIlLqQefd"  # character codes of the NumPy types that torch supports
UNKNOWN = "a file of an unknown kind"
KINDS = (  # starts of `describe_file`'s descriptions of weight files
    "a PyTorch file", "a resume file", "a Python pickle", "a NumPy archive", "a safetensors file",
    "a damaged safetensors file", "a zip archive", UNKNOWN,
)  # fmt: skip
STATE_DICT_ALONE = "save the state dict alone where the file was made: torch.save(model.state_dict(), FILE)"

# Types that training scripts store beside weights. Unpickling them runs no code of the file. Some have other module
# names in pickles of other releases of Python or NumPy, and paths have other types on Windows.
_NUMPY = [
    (np.zeros(1).__reduce__()[0] if name == "_reconstruct" else np.float64(0).__reduce__()[0], f"numpy.{core}.{name}")
    for core in ("core.multiarray", "_core.multiarray")
    for name in ("_reconstruct", "scalar")
]
_PATHS = [
    (kind, f"{module}.{name}")
    for module in ("pathlib", "pathlib._local")
    for kind, name in ((PurePosixPath, "PosixPath"), (PureWindowsPath, "WindowsPath"))
]


def _plain_dict(*_: object) -> dict[Any, Any]:
    """Replace a defaultdict."""
    return {}


def _plain_list(*_: object) -> list[Any]:
    """Replace a deque."""
    return []


SAFE_TYPES: list[Any] = [
    *(*_NUMPY, np.dtype, np.ndarray, *(type(np.dtype(kind)) for kind in f"{NUMERIC}SUMm")),
    *(*_PATHS, argparse.Namespace, SimpleNamespace, list, dict, int, float, frozenset, slice),
    *((_plain_dict, "collections.defaultdict"), (_plain_list, "collections.deque")),
    *(datetime.datetime, datetime.date, datetime.timedelta),
]


@dataclass(frozen=True)
class Selection:
    """Weights of one model, selected from a file with possibly several sets of weights."""

    tensors: dict[str, Tensor]  # by name without the prefix
    prefix: str  # prefix of the names in the file: "state_dict.module."
    others: tuple[str, ...]  # prefixes of other sets of the same weights in the file
    outside: tuple[str, ...]  # names of all other tensors


@dataclass(frozen=True)
class ForeignWeights:
    """All tensors of a file by their dotted names."""

    source: str  # name of the file for messages
    tensors: Mapping[str, Tensor]

    def matches(self, rename: Callable[[str], str | None]) -> dict[str, set[str]]:
        """Return the prefixes of tensors that a model has, each with the model's names of these tensors.

        Args:
            rename: Function from a tensor's name without prefix to its name in the model, or None.
        """
        matches: dict[str, set[str]] = {}
        for name in self.tensors:
            for prefix, rest in _splits(name):
                model_name = rename(rest)
                if model_name is not None:
                    matches.setdefault(prefix, set()).add(model_name)
        return matches

    def select(self, matches: Mapping[str, set[str]], key: str | None = None) -> Selection:
        """Select the tensors below the prefix that matches most of a model's names.

        Among equal matches, prefixes of averaged weights come last, then longer prefixes.

        Args:
            matches: Result of the method `matches`, with at least one prefix.
            key: Prefix to use, or its first parts: "model_ema"; by default the best match.

        Raises:
            CheckpointError: No matching names below `key`.
        """
        below = [prefix for prefix in matches if key is None or f"{prefix}.".startswith(f"{key.strip('.')}.")]
        if not below:
            most = max(map(len, matches.values()))
            places = ", ".join(
                sorted(name.strip(".") or "(no key)" for name in matches if 2 * len(matches[name]) > most)
            )
            raise CheckpointError(f"{self.source} has no weights below {key!r}; it has weights below: {places}")
        best = max(below, key=lambda prefix: (len(matches[prefix]), not AVERAGED.search(prefix), -len(prefix)))
        others = tuple(name for name in matches if name != best and 2 * len(matches[name]) > len(matches[best]))
        inside = {name.removeprefix(best): value for name, value in self.tensors.items() if name.startswith(best)}
        outside = tuple(name for name in self.tensors if not name.startswith(best))
        return Selection(inside, best, others, outside)

    def examples(self) -> str:
        """Return some of the file's tensor names, for messages."""
        names = list(self.tensors)
        shown = ", ".join(repr(one_line(name, 60)) for name in names[:3])
        return f"its {len(names)} tensors have names such as {shown}"


def _splits(name: str) -> list[tuple[str, str]]:
    """Split a dotted name into prefix and rest at every dot, starting with the empty prefix."""
    starts = [0, *(match.end() for match in re.finditer(r"\.", name))]
    return [(name[:start], name[start:]) for start in starts]


def kind_of_weights(path: Path) -> str:
    """Describe a file that may contain weights of another program, see `describe_file`.

    Raises:
        CheckpointError: A missing file, a folder, a file of fer-edge, or a kind of file without weights.
    """
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; name a file of weights in it")
    if not path.is_file():
        raise CheckpointError(f"no file at {path}")
    kind = describe_file(path)
    if kind in ("a fer-edge checkpoint", "a file of text features", "a fer-edge bundle"):
        raise CheckpointError(f"{path} is {kind}, not weights of another program; it needs no conversion")
    if not kind.startswith(KINDS):
        raise CheckpointError(f"{path} is {kind}; expected weights in a .pth, .safetensors or .npz file")
    return kind


def read_foreign_weights(path: Path) -> ForeignWeights:
    """Read the tensors of a PyTorch, safetensors or NumPy file, recognised by content, without running its code.

    Raises:
        CheckpointError: A missing or damaged file, another kind of file, Python objects in it, or no tensors.
    """
    kind = kind_of_weights(path)
    try:
        contents = _contents(path, kind)
    except CheckpointError:
        raise
    except Exception as error:  # each library raises another type
        raise _read_error(path, kind, error) from error
    tensors: dict[str, Tensor] = {}
    _flatten(contents, "", tensors, set(), 0)
    if not tensors:
        raise CheckpointError(f"{path} contains no tensors: {_describe(contents)}; expected a state dict")
    return ForeignWeights(str(path), tensors)


def _contents(path: Path, kind: str) -> Any:
    if "safetensors file" in kind:
        return load_safetensors(path.read_bytes())
    if kind.startswith("a NumPy archive"):
        with np.load(path, allow_pickle=False) as arrays:
            numeric = {name: array for name, array in arrays.items() if array.dtype.char in NUMERIC}
        return {name: torch.from_numpy(array) for name, array in numeric.items()}
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                raise CheckpointError(
                    f"{path} is a TorchScript archive, which contains code; if you trust it, save its state dict: "
                    "torch.save(torch.jit.load(FILE).state_dict(), NEW)"
                )
    with torch.serialization.safe_globals(SAFE_TYPES), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on pickle protocols
        return torch.load(path, map_location="cpu", weights_only=True)


def _flatten(value: Any, prefix: str, tensors: dict[str, Tensor], visited: set[int], depth: int) -> None:
    """Collect the tensors of nested dictionaries and lists by their dotted names, each container once."""
    if isinstance(value, Tensor):
        tensors[prefix or "tensor"] = value.detach()
        return
    if isinstance(value, (argparse.Namespace, SimpleNamespace)):
        value = vars(value)
    if not isinstance(value, (Mapping, list, tuple)) or id(value) in visited or depth > MAX_DEPTH:
        return
    visited.add(id(value))  # a pickle may contain itself
    for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
        _flatten(item, f"{prefix}.{key}" if prefix else str(key), tensors, visited, depth + 1)


def _read_error(path: Path, kind: str, error: Exception) -> CheckpointError:
    """Return a one-line error that describes the file or the Python objects in it."""
    text = str(error)
    objects = sorted(set(re.findall(r"GLOBAL\s+([\w.]+)", text)))
    if objects:
        return CheckpointError(
            f"{path} contains Python objects ({', '.join(objects[:3])}), and reading them would run code of the "
            f"file; {STATE_DICT_ALONE}"
        )
    if isinstance(error, MemoryError) or "allocate memory" in text:
        return CheckpointError(f"{path} does not fit into free memory: {path.stat().st_size >> 20} MiB")
    if kind == UNKNOWN:
        return CheckpointError(f"{path} is {kind}; expected weights in a .pth, .safetensors or .npz file")
    if isinstance(error, (SafetensorError, RuntimeError, EOFError, zipfile.BadZipFile, OSError)):
        return CheckpointError(f"{path} is damaged ({one_line(text, 120)}): copy or download it again")
    reason = (text.partition("WeightsUnpickler error:")[2] or text).partition("Check the documentation")[0]
    return CheckpointError(
        f"{path} is {kind} that cannot be read without running its code ({one_line(reason, 120)}); {STATE_DICT_ALONE}"
    )


def _describe(contents: Any) -> str:
    if not isinstance(contents, Mapping):
        return f"it is a Python {type(contents).__name__}"
    if not contents:
        return "it is an empty dictionary"
    entries = [f"{one_line(str(key), 40)} ({_kind(value)})" for key, value in list(contents.items())[:4]]
    return f"it has {', '.join(entries)}"


def _kind(value: Any) -> str:
    empty = "empty " if isinstance(value, (Mapping, list, tuple)) and not value else ""
    return f"{empty}{type(value).__name__}"
