"""Limits of control groups, read from simulated `/proc` and `/sys` trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from fer_edge.hardware.limits import cpu_limit, memory_limit, process_limit

UNIFIED = "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate"
CPU = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct"
MEMORY = "33 31 0:30 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory"
V1 = "9:cpu,cpuacct:{path}\n4:memory:{path}\n1:name=systemd:/\n"


def with_files(root: Path, mounts: list[str], groups: str, files: dict[str, str]) -> Path:
    """Write mountinfo, the process's groups, and files below `/sys/fs/cgroup`."""
    texts = {"proc/self/mountinfo": "\n".join(mounts), "proc/self/cgroup": groups}
    texts |= {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", None), ("250000 100000", 2.5), ("50000 100000", 0.5), ("", None), ("1 0", None), ("one two", None)],
)
def test_version_2_quota_is_returned_in_processors(quota: str, cores: float | None, tmp_path: Path) -> None:
    assert cpu_limit(with_files(tmp_path, [UNIFIED], "0::/", {"cpu.max": quota})) == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", None), ("50000", 0.5), ("300000", 3)])
def test_version_1_quota_is_returned_in_processors(quota: str, cores: float | None, tmp_path: Path) -> None:
    files = {"cpu,cpuacct/app/cpu.cfs_quota_us": quota, "cpu,cpuacct/app/cpu.cfs_period_us": "100000"}
    assert cpu_limit(with_files(tmp_path, [CPU, MEMORY], V1.format(path="/app"), files)) == cores


def test_lowest_limit_of_all_parent_groups_applies(tmp_path: Path) -> None:
    files = {
        "system.slice/cpu.max": "150000 100000",
        "system.slice/app.service/cpu.max": "max 100000",
        "system.slice/app.service/memory.max": "max",
        "system.slice/app.service/inner/cpu.max": "400000 100000",
        "system.slice/memory.max": "2147483648",
        "memory.max": "8589934592",
        "system.slice/app.service/inner/pids.max": "40",
        "system.slice/other/cpu.max": "1000 100000",
    }
    root = with_files(tmp_path, [UNIFIED], "0::/system.slice/app.service/inner", files)
    assert (cpu_limit(root), memory_limit(root), process_limit(root)) == (1.5, 2 << 30, 40)


def test_both_versions_apply_if_both_are_mounted(tmp_path: Path) -> None:
    hybrid = UNIFIED.replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified ")
    files = {
        "cpu,cpuacct/app/cpu.cfs_quota_us": "200000",
        "cpu,cpuacct/app/cpu.cfs_period_us": "100000",
        "cpu,cpuacct/cpu.cfs_quota_us": "-1",
        "unified/app.scope/cpu.max": "100000 100000",
        "memory/app/memory.limit_in_bytes": "1073741824",
        "memory/memory.limit_in_bytes": "9223372036854771712",  # no limit
    }
    root = with_files(tmp_path, [hybrid, CPU, MEMORY], f"{V1.format(path='/app')}0::/app.scope\n", files)
    assert (cpu_limit(root), memory_limit(root), process_limit(root)) == (1, 1 << 30, None)


def test_group_of_a_container_is_read_at_the_mount_point(tmp_path: Path) -> None:
    bound = CPU.replace(" / ", " /docker/0f3c ", 1)
    files = {"cpu,cpuacct/cpu.cfs_quota_us": "50000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}
    for path in ("/docker/0f3c", "/elsewhere", "/../../other"):
        assert cpu_limit(with_files(tmp_path / path.replace("/", "_"), [bound], V1.format(path=path), files)) == 0.5


def test_mount_points_may_contain_spaces(tmp_path: Path) -> None:
    mount = UNIFIED.replace("/sys/fs/cgroup ", r"/sys/fs/cgroup/my\040groups ")
    assert cpu_limit(with_files(tmp_path, [mount], "0::/", {"my groups/cpu.max": "50000 100000"})) == 0.5


def test_default_mount_points_are_used_without_mountinfo(tmp_path: Path) -> None:
    assert cpu_limit(tmp_path) is None
    files = {"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "100000", "memory.max": "4096"}
    root = with_files(tmp_path, [], "", files)
    assert (cpu_limit(root), memory_limit(root)) == (1.5, 4096)
