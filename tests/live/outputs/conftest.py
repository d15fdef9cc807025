"""Programs of others that receive what outputs send; tests skip without them, except in CI."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest


def require_tools(packages: str, *tools: str) -> None:
    """Require programs; without them, skip the test, but fail in CI.

    Args:
        packages: Packages of Debian that contain them.
        tools: Names of the programs.
    """
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if not missing:
        return
    if os.environ.get("FER_EDGE_REQUIRE_SHARED"):
        pytest.fail(f"{', '.join(missing)} missing, and this run must not skip tests that need it: see .ci/run")
    pytest.skip(f"needs {', '.join(missing)}; on Debian or Ubuntu: apt-get install {packages}")


@pytest.fixture(scope="session")
def oscdump() -> str:
    """Return the name of liblo's program that prints OSC messages."""
    require_tools("liblo-tools", "oscdump")
    return "oscdump"


@pytest.fixture(scope="session")
def namespace() -> list[str]:
    """Return the start of a command that runs in a network namespace with avahi's programs."""
    if sys.platform != "linux":
        pytest.skip("needs network namespaces of Linux")
    require_tools(
        "avahi-daemon avahi-utils dbus iproute2", "avahi-daemon", "avahi-publish", "avahi-browse", "dbus-daemon", "ip"
    )
    command = ["unshare", "--net"] if os.getuid() == 0 else ["unshare", "--map-root-user", "--net"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        if os.environ.get("FER_EDGE_REQUIRE_SHARED"):
            pytest.fail("network namespaces are not permitted, and this run must not skip tests that need them")
        pytest.skip("needs network namespaces, which this system does not permit")
    return command
