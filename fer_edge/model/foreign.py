"""Weights of other programs: named tensors out of whatever a file holds.

A file's nested dictionaries and lists are flattened to dotted names, so that a wrapper ("state_dict", "model_ema") and
a prefix of names ("module.", "_orig_mod.") are the same thing. The names that a model expects decide which prefix holds
its weights.
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

DEEPEST = 8  # levels of nesting that are searched
# In prefixes of second sets of weights.
AVERAGED = re.compile(r"ema|averag|swa|teacher|shadow|momentum", re.IGNORECASE)
NUMERIC = "?bBhHiIlLqQefd"  # NumPy's types that torch has too
UNKNOWN = "a file of an unknown kind"
KINDS = (  # beginnings of what `describe_file` says of weights
    "a PyTorch file", "a resume file", "a Python pickle", "a NumPy archive", "a safetensors file",
    "a damaged safetensors file", "a zip archive", UNKNOWN,
)  # fmt: skip
STATE_DICT_ALONE = "save the state dict alone where the file was made: torch.save(model.state_dict(), FILE)"

# Types that training scripts put beside weights; rebuilding one runs no code of the file. Pickles name some of them
# after the module of another release of Python or NumPy, and paths after the other system.
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
    """What stands for a defaultdict."""
    return {}


def _plain_list(*_: object) -> list[Any]:
    """What stands for a deque."""
    return []


HARMLESS: list[Any] = [
    *(*_NUMPY, np.dtype, np.ndarray, *(type(np.dtype(kind)) for kind in f"{NUMERIC}SUMm")),
    *(*_PATHS, argparse.Namespace, SimpleNamespace, list, dict, int, float, frozenset, slice),
    *((_plain_dict, "collections.defaultdict"), (_plain_list, "collections.deque")),
    *(datetime.datetime, datetime.date, datetime.timedelta),
]


@dataclass(frozen=True)
class Selection:
    """Weights of one model, out of a file that may hold several."""

    tensors: dict[str, Tensor]  # by name without the prefix
    prefix: str  # of their names in the file: "state_dict.module."
    others: tuple[str, ...]  # prefixes of other sets of the same weights in the file
    outside: tuple[str, ...]  # names of all other tensors


@dataclass(frozen=True)
class ForeignWeights:
    """All tensors of a file by their dotted names."""

    source: str  # the file, for messages
    tensors: Mapping[str, Tensor]

    def fits(self, known: Callable[[str], str | None]) -> dict[str, set[str]]:
        """Prefixes below which names of a model stand, with those names in the model.

        Args:
            known: Name in the model of a tensor's name without prefix, or None if it has none.
        """
        fits: dict[str, set[str]] = {}
        for name in self.tensors:
            for prefix, rest in _splits(name):
                ours = known(rest)
                if ours is not None:
                    fits.setdefault(prefix, set()).add(ours)
        return fits

    def select(self, fits: Mapping[str, set[str]], key: str | None = None) -> Selection:
        """The tensors below the prefix that fits most of a model's names.

        Of prefixes that fit equally well, one that names no averaged weights goes first, then the shortest.

        Args:
            fits: What `fits` gave; at least one prefix.
            key: Prefix to take, or its first parts: "model_ema". Default: the best.

        Raises:
            CheckpointError: There are no fitting names below `key`.
        """
        below = [prefix for prefix in fits if key is None or f"{prefix}.".startswith(f"{key.strip('.')}.")]
        if not below:
            most = max(map(len, fits.values()))
            places = ", ".join(sorted(name.strip(".") or "(no key)" for name in fits if 2 * len(fits[name]) > most))
            raise CheckpointError(f"{self.source} holds no weights below {key!r}; it holds them below: {places}")
        best = max(below, key=lambda prefix: (len(fits[prefix]), not AVERAGED.search(prefix), -len(prefix)))
        others = tuple(name for name in fits if name != best and 2 * len(fits[name]) > len(fits[best]))
        inside = {name.removeprefix(best): value for name, value in self.tensors.items() if name.startswith(best)}
        outside = tuple(name for name in self.tensors if not name.startswith(best))
        return Selection(inside, best, others, outside)

    def examples(self) -> str:
        """Some of the file's names, for messages."""
        names = list(self.tensors)
        shown = ", ".join(repr(one_line(name, 60)) for name in names[:3])
        return f"its {len(names)} tensors have names such as {shown}"


def _splits(name: str) -> list[tuple[str, str]]:
    """Every way to cut a dotted name into a prefix and a rest, the empty prefix first."""
    starts = [0, *(match.end() for match in re.finditer(r"\.", name))]
    return [(name[:start], name[start:]) for start in starts]


def kind_of_weights(path: Path) -> str:
    """What `describe_file` says of a file that may hold weights of another program.

    Raises:
        CheckpointError: It is missing, a folder, of fer-edge itself or of a kind that holds no weights.
    """
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; name the file of weights in it")
    if not path.is_file():
        raise CheckpointError(f"no file at {path}")
    kind = describe_file(path)
    if kind in ("a fer-edge checkpoint", "a file of text features", "a fer-edge bundle"):
        raise CheckpointError(f"{path} is {kind}, not weights of another program: it needs no import")
    if not kind.startswith(KINDS):
        raise CheckpointError(f"{path} is {kind}; expected weights in a .pth, .safetensors or .npz file")
    return kind


def read_foreign_weights(path: Path) -> ForeignWeights:
    """Tensors of a PyTorch, safetensors or NumPy file, told apart by content, without running code from it.

    Raises:
        CheckpointError: The file is missing, damaged, of another kind, or holds Python objects or no tensors.
    """
    kind = kind_of_weights(path)
    try:
        contents = _contents(path, kind)
    except CheckpointError:
        raise
    except Exception as error:  # every library below has its own
        raise _unreadable(path, kind, error) from error
    tensors: dict[str, Tensor] = {}
    _flatten(contents, "", tensors, set(), 0)
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors: {_described(contents)}; expected a state dict")
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
                    f"{path} is a TorchScript archive, which is a program; if you trust it, save its state dict alone: "
                    "torch.save(torch.jit.load(FILE).state_dict(), NEW)"
                )
    with torch.serialization.safe_globals(HARMLESS), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pickle protocols
        return torch.load(path, map_location="cpu", weights_only=True)


def _flatten(value: Any, prefix: str, tensors: dict[str, Tensor], visited: set[int], depth: int) -> None:
    """Collect the tensors of nested dictionaries and lists by their dotted names, each container once."""
    if isinstance(value, Tensor):
        tensors[prefix or "tensor"] = value.detach()
        return
    if isinstance(value, (argparse.Namespace, SimpleNamespace)):
        value = vars(value)
    if not isinstance(value, (Mapping, list, tuple)) or id(value) in visited or depth > DEEPEST:
        return
    visited.add(id(value))  # a pickle may hold itself
    for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
        _flatten(item, f"{prefix}.{key}" if prefix else str(key), tensors, visited, depth + 1)


def _unreadable(path: Path, kind: str, error: Exception) -> CheckpointError:
    """Name what a file is, or the Python objects in it, in place of a library's page of text."""
    text = str(error)
    objects = sorted(set(re.findall(r"GLOBAL\s+([\w.]+)", text)))
    if objects:
        return CheckpointError(
            f"{path} holds Python objects ({', '.join(objects[:3])}), and reading them would run code of the file, "
            f"which fer-edge never does; {STATE_DICT_ALONE}"
        )
    if isinstance(error, MemoryError) or "allocate memory" in text:
        return CheckpointError(f"{path} does not fit into the memory that is left: {path.stat().st_size >> 20} MiB")
    if kind == UNKNOWN:
        return CheckpointError(f"{path} is {kind}; expected weights in a .pth, .safetensors or .npz file")
    if isinstance(error, (SafetensorError, RuntimeError, EOFError, zipfile.BadZipFile, OSError)):
        return CheckpointError(f"{path} is damaged ({one_line(text, 120)}): copy or download it again")
    reason = (text.partition("WeightsUnpickler error:")[2] or text).partition("Check the documentation")[0]
    return CheckpointError(
        f"{path} is {kind} that cannot be read without running its code ({one_line(reason, 120)}); {STATE_DICT_ALONE}"
    )


def _described(contents: Any) -> str:
    if not isinstance(contents, Mapping):
        return f"it is a Python {type(contents).__name__}"
    if not contents:
        return "it is an empty dictionary"
    entries = [f"{one_line(str(key), 40)} ({_kind(value)})" for key, value in list(contents.items())[:4]]
    return f"it has {', '.join(entries)}"


def _kind(value: Any) -> str:
    empty = "empty " if isinstance(value, (Mapping, list, tuple)) and not value else ""
    return f"{empty}{type(value).__name__}"
