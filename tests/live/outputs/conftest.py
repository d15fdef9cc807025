"""Programs of others that receive what outputs send; tests skip without them, except in CI."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.live.outputs.receivers import require_tools


@pytest.fixture(scope="session")
def oscdump() -> str:
    """Return the name of liblo's program that prints OSC messages."""
    require_tools("liblo-tools", "oscdump")
    return "oscdump"


@pytest.fixture(scope="session")
def namespace() -> list[str]:
    """Return the start of a command that runs in namespaces of network and mounts with avahi's programs."""
    if sys.platform != "linux":
        pytest.skip("needs network namespaces of Linux")
    require_tools(
        "avahi-daemon avahi-utils dbus iproute2", "avahi-daemon", "avahi-publish", "avahi-browse", "dbus-daemon", "ip"
    )
    command = ["unshare", "--net", "--mount"]
    if os.getuid():
        command.append("--map-root-user")
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        if os.environ.get("FER_EDGE_REQUIRE_SHARED"):
            pytest.fail("network namespaces are not permitted, and this run must not skip tests that need them")
        pytest.skip("needs network namespaces, which this system does not permit")
    return command
