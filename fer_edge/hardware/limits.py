"""Limits of Linux control groups on this process: CPU time, memory and number of processes.

Both cgroup versions are read, even if both are mounted, and every group from the process's own up to the one at the
mount point: the lowest limit applies. Other systems have no such limits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

ROOT = Path("/")
UNIFIED = "cgroup2"  # file system type of version 2; version 1 has "cgroup", mounted once per controller
Limit = TypeVar("Limit", int, float)
NO_LIMIT = 1 << 60  # without a memory limit, version 1 reports the largest whole number of pages


class _Mount(NamedTuple):
    """A mounted hierarchy of control groups."""

    kind: str  # "cgroup" or "cgroup2"
    top: PurePosixPath  # group at the mount point; in a container that hides the host's groups, the container's own
    point: PurePosixPath
    controllers: frozenset[str]  # version 1 only


def cpu_limit(root: Path | None = None) -> float | None:
    """Return the CPU quota in processors, `0.5` for half of one; None without a limit.

    Args:
        root: Folder that contains `proc` and `sys`; default: `/`.
    """
    return min(_limits("cpu", _read_cpu_limit, root), default=None)


def memory_limit(root: Path | None = None) -> int | None:
    """Return the memory limit in bytes; None without a limit.

    Args:
        root: Folder as for `cpu_limit`.
    """
    limits = _limits("memory", lambda group: _read_number(group / "memory.max", group / "memory.limit_in_bytes"), root)
    return min(limits, default=None)


def process_limit(root: Path | None = None) -> int | None:
    """Return the limit of processes and threads; None without a limit.

    Args:
        root: Folder as for `cpu_limit`.
    """
    return min(_limits("pids", lambda group: _read_number(group / "pids.max"), root), default=None)


def _limits(controller: str, read_limit: Callable[[Path], Limit | None], root: Path | None) -> list[Limit]:
    return [limit for group in _groups(controller, root or ROOT) if (limit := read_limit(group)) is not None]


def _read_cpu_limit(group: Path) -> float | None:
    quota, _, period = read_text(group / "cpu.max").partition(" ")  # version 2: "50000 100000", or "max 100000"
    if not quota:
        quota, period = read_text(group / "cpu.cfs_quota_us"), read_text(group / "cpu.cfs_period_us")  # no limit: -1
    try:
        share = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return share if share > 0 else None


def _read_number(*files: Path) -> int | None:
    """Return the limit in the first readable file; None without a limit."""
    text = next(filter(None, map(read_text, files)), "")
    return int(text) if text.isdecimal() and int(text) < NO_LIMIT else None


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """List the folders of the process's groups, innermost first, in every hierarchy with the controller."""
    paths = _own_groups(root)
    for mount in _mounts(root):
        if mount.kind == UNIFIED or controller in mount.controllers:
            path = paths.get("" if mount.kind == UNIFIED else controller, mount.top)
            # A group outside the mounted part of the hierarchy cannot be read: use the group at the mount point.
            below = path.relative_to(mount.top) if path.is_relative_to(mount.top) else PurePosixPath()
            for part in (below, *below.parents) if ".." not in below.parts else (PurePosixPath(),):
                yield root / mount.point.relative_to("/") / part


def _own_groups(root: Path) -> dict[str, PurePosixPath]:
    """Return the process's group for each version 1 controller, and for version 2 under the empty name."""
    groups: dict[str, PurePosixPath] = {}
    for line in read_text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        groups |= {controller: PurePosixPath(path) for controller in controllers.split(",")}
    return groups


def _mounts(root: Path) -> Iterator[_Mount]:
    """List the mounted hierarchies; assume the standard mount points if mountinfo cannot be read."""
    lines = read_text(root / "proc/self/mountinfo").splitlines()
    for line in lines:
        mount_fields, _, kind_and_options = line.partition(" - ")
        fields, (kind, _, options) = mount_fields.split(" "), (*kind_and_options.split(" ", 2), "", "")[:3]
        if kind in ("cgroup", UNIFIED) and len(fields) > 4:
            top, point = (PurePosixPath(_unescape(field)) for field in fields[3:5])
            yield _Mount(kind, top, point, frozenset(options.split(",")))
    if not lines:
        default = PurePosixPath("/sys/fs/cgroup")
        yield _Mount(UNIFIED, PurePosixPath("/"), default, frozenset())
        for controller in ("cpu", "memory", "pids"):
            yield _Mount("cgroup", PurePosixPath("/"), default / controller, frozenset({controller}))


def _unescape(field: str) -> str:
    """Decode the octal escapes of a mountinfo path."""
    return field.encode("latin-1", "backslashreplace").decode("unicode_escape") if "\\" in field else field


def read_text(path: Path) -> str:
    """Return the text of one of the kernel's files, without surrounding white space; empty if it cannot be read."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
