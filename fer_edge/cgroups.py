"""Limits that control groups of Linux set on this process: processor time, memory and number of processes.

Both versions are read, also side by side, and every group from the process's own up to the one at the mount point: the
lowest limit counts. Elsewhere than on Linux there are none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

ROOT = Path("/")
UNIFIED = "cgroup2"  # version 2's file system; version 1's is "cgroup", mounted once per controller
Limit = TypeVar("Limit", int, float)
NO_LIMIT = 1 << 60  # version 1 writes the largest whole number of pages where there is no limit of memory


class _Mount(NamedTuple):
    """One hierarchy of control groups as it is mounted."""

    kind: str  # "cgroup" or "cgroup2"
    top: PurePosixPath  # the group at the mount point; a container's own where its host's groups are hidden
    point: PurePosixPath
    controllers: frozenset[str]  # of version 1


def cpu_limit(root: Path | None = None) -> float | None:
    """Return how many processors' time the process may use, `0.5` for half of one; None if there is no limit.

    Args:
        root: Folder that holds `proc` and `sys`; `/` by default.
    """
    return min(_limits("cpu", _cpu_limit_of, root), default=None)


def memory_limit(root: Path | None = None) -> int | None:
    """Return the bytes of memory that the process's groups may use; None if there is no limit.

    Args:
        root: As for `cpu_limit`.
    """
    limits = _limits("memory", lambda group: _number(group / "memory.max", group / "memory.limit_in_bytes"), root)
    return min(limits, default=None)


def process_limit(root: Path | None = None) -> int | None:
    """Return how many processes and threads the process's groups may have; None if there is no limit.

    Args:
        root: As for `cpu_limit`.
    """
    return min(_limits("pids", lambda group: _number(group / "pids.max"), root), default=None)


def _limits(controller: str, limit_of: Callable[[Path], Limit | None], root: Path | None) -> list[Limit]:
    return [limit for group in _groups(controller, root or ROOT) if (limit := limit_of(group)) is not None]


def _cpu_limit_of(group: Path) -> float | None:
    quota, _, period = _text(group / "cpu.max").partition(" ")  # version 2: "50000 100000", or "max 100000"
    if not quota:
        quota, period = _text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us")  # no limit: -1
    try:
        share = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return share if share > 0 else None


def _number(*files: Path) -> int | None:
    """The limit in the first of the files that there is."""
    text = next(filter(None, map(_text, files)), "")
    return int(text) if text.isdecimal() and int(text) < NO_LIMIT else None


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """Folders of the process's groups, the innermost first, in every hierarchy that may limit a controller."""
    paths = _own_groups(root)
    for mount in _mounts(root):
        if mount.kind == UNIFIED or controller in mount.controllers:
            path = paths.get("" if mount.kind == UNIFIED else controller, mount.top)
            # A path outside of what is mounted names nothing that can be read; the mounted group itself can be.
            below = path.relative_to(mount.top) if path.is_relative_to(mount.top) else PurePosixPath()
            for part in (below, *below.parents) if ".." not in below.parts else (PurePosixPath(),):
                yield root / mount.point.relative_to("/") / part


def _own_groups(root: Path) -> dict[str, PurePosixPath]:
    """The process's group for each controller of version 1, and under an empty name the one of version 2."""
    groups: dict[str, PurePosixPath] = {}
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        groups |= {controller: PurePosixPath(path) for controller in controllers.split(",")}
    return groups


def _mounts(root: Path) -> Iterator[_Mount]:
    """Mounted hierarchies; where the system does not list its mounts, those of the usual places."""
    lines = _text(root / "proc/self/mountinfo").splitlines()
    for line in lines:
        about, _, kind_and_options = line.partition(" - ")
        fields, (kind, _, options) = about.split(" "), (*kind_and_options.split(" ", 2), "", "")[:3]
        if kind in ("cgroup", UNIFIED) and len(fields) > 4:
            top, point = (PurePosixPath(_unescaped(field)) for field in fields[3:5])
            yield _Mount(kind, top, point, frozenset(options.split(",")))
    if not lines:
        usual = PurePosixPath("/sys/fs/cgroup")
        yield _Mount(UNIFIED, PurePosixPath("/"), usual, frozenset())
        for controller in ("cpu", "memory", "pids"):
            yield _Mount("cgroup", PurePosixPath("/"), usual / controller, frozenset({controller}))


def _unescaped(field: str) -> str:
    """A path of mountinfo, where spaces and such are written in octal."""
    return field.encode("latin-1", "backslashreplace").decode("unicode_escape") if "\\" in field else field


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
