"""Program of a test in namespaces of network and mounts: an output finds VRChat by avahi, and avahi finds the output.

It is a process of its own, since a namespace is entered before Python starts. It prints what was seen as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

from fer_edge.live.outputs import make_output, oscquery
from fer_edge.live.outputs import vrchat as vrchat_output
from tests.live.outputs.receivers import OscDump
from tests.live.outputs.updates import LABELS, person, update
from tests.live.outputs.vrchat_double import parameters, running_vrchat
from tests.video.clips import wait_until

BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>unix:path={path}</listen><auth>EXTERNAL</auth><policy context="default">
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/><allow user="*"/>
</policy></busconfig>"""
AVAHI = "[server]\nhost-name=vrchat-pc\nuse-ipv6=no\nallow-interfaces={interface}\n"
# Commands of `ip` by mode. The loopback interface has no multicast by default; v0 is an interface with a cable to v1.
NETWORKS = {
    "loopback": ["link set lo up multicast on", "route add 224.0.0.0/4 dev lo"],
    "network": [
        "link set lo up",
        "link add v0 type veth peer name v1",
        "addr add 10.9.9.1/24 dev v0",
        "link set v0 up",
        "link set v1 up",
    ],
}
SERVICE = "VRChat-Client-A1B2C3"


def main(mode: str, folder: Path) -> None:
    oscquery.REFRESH_SECONDS = 0.1
    vrchat_output.RESEND_SECONDS = 3600.0  # values are sent again after a change of the avatar alone
    notes: list[str] = []
    with ExitStack() as stack:
        start_avahi(mode, folder, stack)
        vrchat = stack.enter_context(running_vrchat())
        vrchat.tree = parameters("FER/Emotion", "FER/Happiness", "GestureLeft")
        receiver = stack.enter_context(OscDump())
        target = f"osc://127.0.0.1:{receiver.port}?app=vrchat&discover={mode}"
        output = make_output(target, LABELS, notes.append)
        output.open("camera")
        sockets = set[str]()
        while not notes:  # searches, and there is no VRChat
            sockets |= own_sockets()
        host = "vrchat.local"  # as VRChat's service, it has the loopback address on every interface
        stack.enter_context(running("avahi-publish", "-R", "-a", host, "127.0.0.1"))
        stack.enter_context(running("avahi-publish", "-H", host, "-s", SERVICE, "_oscjson._tcp", str(vrchat.port)))
        wait_until(lambda: len(notes) == 2)
        receiver.messages.clear()
        output.send(update(person(1, "happiness")))
        wait_until(lambda: receiver.latest("/avatar/parameters/FER/Happiness") == 0.9)
        addresses = sorted({message.address for message in receiver.messages})
        receiver.messages.clear()
        announced = report_change()
        wait_until(lambda: {message.address for message in receiver.messages} == {*addresses})
        sockets |= own_sockets()
        vrchat.tree = parameters("GestureLeft")
        wait_until(lambda: len(notes) == 3)
        output.close()
        wait_until(lambda: len(services()) == 1)  # avahi drops a withdrawn service after a second
    wait_until(lambda: threading.active_count() == 1)
    seen = {"notes": notes, "addresses": addresses, "sockets": sorted(sockets)}
    print(json.dumps(seen | announced))


def report_change() -> dict[str, Any]:
    """Find an announced program as VRChat does, and report a change of the avatar to it.

    Returns:
        Announced services, and documents that were read.
    """
    wait_until(lambda: len(services()) == 3)
    osc, http = sorted((service for service in services() if service.name != SERVICE), key=lambda service: service.kind)
    documents = {}
    for path in ("/?HOST_INFO", "/", "/avatar", "/avatar/change"):
        with urlopen(f"http://{http.address}:{http.port}{path}") as response:
            documents[path] = json.load(response)
    subprocess.run(["oscsend", osc.address, str(osc.port), "/avatar/change", "s", "avtr_1"], check=True)
    return {"services": [osc, http], "documents": documents}


class Service(NamedTuple):
    """Service that avahi sees.

    Attributes:
        name: Name.
        kind: Type, as "_osc._udp".
        address: IPv4 address.
        port: Port.
    """

    name: str
    kind: str
    address: str
    port: int


def services() -> list[Service]:
    """Return the services that avahi sees."""
    lines = subprocess.run(["avahi-browse", "-artp"], capture_output=True, text=True, check=True).stdout.splitlines()
    rows = [line.split(";") for line in lines if line.startswith("=")]
    return [Service(row[3], row[4], row[7], int(row[8])) for row in rows]


def own_sockets() -> set[str]:
    """Return protocols and addresses of the sockets of this process that wait for datagrams or connections."""
    lines = subprocess.run(["ss", "-Hluntp"], capture_output=True, text=True, check=True).stdout.splitlines()
    rows = [line.split() for line in lines if f"pid={os.getpid()}," in line]
    return {f"{row[0]} {row[4].rpartition(':')[0]}" for row in rows}


@contextmanager
def running(*command: str) -> Iterator[None]:
    """Run a program until the end of the block."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def start_avahi(mode: str, folder: Path, stack: ExitStack) -> None:
    """Start a message bus and avahi on one interface."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)  # another avahi may have its files there
    for arguments in NETWORKS[mode]:
        subprocess.run(["ip", *arguments.split()], check=True)
    bus = folder / "bus"
    (folder / "bus.conf").write_text(BUS.format(path=bus))
    (folder / "avahi.conf").write_text(AVAHI.format(interface="lo" if mode == "loopback" else "v0"))
    os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = f"unix:path={bus}"
    stack.enter_context(running("dbus-daemon", f"--config-file={folder / 'bus.conf'}", "--nofork"))
    wait_until(bus.exists)
    options = ("--no-drop-root", "--no-chroot", "--no-rlimits")
    stack.enter_context(running("avahi-daemon", "-f", str(folder / "avahi.conf"), *options))
    wait_until(lambda: subprocess.run(["avahi-browse", "-atp"], capture_output=True, check=False).returncode == 0)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
