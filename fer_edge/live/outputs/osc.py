"""OSC outputs: options in the URL, and datagrams over UDP to VRChat or to a VMC program."""

from __future__ import annotations

import os
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from fer_edge._require import require
from fer_edge._text import did_you_mean
from fer_edge.errors import ConfigError, shown
from fer_edge.live.outputs import OUTPUTS, Note
from fer_edge.live.outputs.address import parse_address
from fer_edge.live.outputs.sender import NetworkOutput, Receiver

if TYPE_CHECKING:
    from fer_edge.live.output import Output, Update

APPS = ("vrchat", "vmc")
# A UDP receiver that is absent is reported after the send: it counts as present after this time without a report.
SETTLE_SECONDS = 1.0
# Time without a new frame after which values that fade are sent. It is longer than the time between frames, so that a
# frame does not wait for its turn behind such a message.
FADE_SECONDS = 0.05
SEND_SECONDS = 1.0  # longest wait for room in the buffer of the network


class Encoder(ABC):
    """Encoder of updates as OSC datagrams for one app; only the thread of the output uses it."""

    def open(self) -> None:  # noqa: B027  may be left out
        """Open sockets and threads, before the first update.

        Raises:
            FerEdgeError: Port that is in use.
        """

    @abstractmethod
    def encode(self, update: Update, now: float) -> Sequence[bytes]:
        """Return the datagrams for an update.

        Args:
            update: The newest update, or the same one again.
            now: Time on the monotonic clock in seconds.
        """

    @abstractmethod
    def encode_neutral(self) -> Sequence[bytes]:
        """Return the datagrams that reset the avatar, at the end of the session."""

    @abstractmethod
    def restart(self) -> None:
        """Send everything again, to a receiver that is new."""

    def close(self) -> None:  # noqa: B027  may be left out
        """Release sockets and threads."""


class UdpReceiver(Receiver):
    """Receiver of OSC datagrams over UDP.

    Args:
        host: Name or address of the receiver.
        port: Its port.
        encoder: Encoder of the app.

    Raises:
        OSError: Host that is not known.
    """

    def __init__(self, host: str, port: int, encoder: Encoder) -> None:
        self._encoder = encoder
        encoder.restart()
        places = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        places.sort(key=lambda place: place[0] != socket.AF_INET)  # `localhost`: VRChat and others receive IPv4 only
        family, kind, _, _, place = places[0]
        self._socket = socket.socket(family, kind)
        try:
            # Of a connected socket, the system reports that nothing listens at the port.
            self._socket.connect(place)
            self._socket.settimeout(SEND_SECONDS)
        except OSError:
            self._socket.close()
            raise

    def send(self, update: Update) -> None:
        try:
            for datagram in self._encoder.encode(update, time.monotonic()):
                self._socket.send(datagram)
            error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, os.strerror(error))
        except ConnectionRefusedError as refusal:
            raise OSError(refusal.errno, "no program has this port") from refusal

    def close(self) -> None:
        with self._socket, suppress(OSError):  # the receiver may be absent
            for datagram in self._encoder.encode_neutral():
                self._socket.send(datagram)


class OscOutput(NetworkOutput):
    """Output to an app that receives OSC.

    Args:
        name: Name of the app in messages.
        place: Host and port of the app.
        encoder: Encoder of the app.
        rate: Largest number of updates per second.
        note: Function that writes one sentence when the app is not there, and when it is.
    """

    def __init__(self, name: str, place: tuple[str, int], encoder: Encoder, rate: float, note: Note) -> None:
        self._encoder = encoder
        super().__init__(
            f"{name} at {place[0]}:{place[1]}",
            lambda: UdpReceiver(*place, encoder),
            note,
            rate=rate,
            repeat=max(1.5 / rate, FADE_SECONDS),
            settle=SETTLE_SECONDS,
        )

    def open(self, title: str) -> None:
        self._encoder.open()
        super().open(title)

    def close(self) -> None:
        """End the thread, and reset the avatar; may be called several times."""
        super().close()
        self._encoder.close()


def make_osc(target: str, labels: Sequence[str], note: Note) -> Output:
    """Make the output of an `osc://` URL.

    Args:
        target: URL.
        labels: Labels of the model.
        note: Function that writes one sentence.

    Raises:
        ConfigError: Invalid URL, option or mapping.
        EngineUnavailableError: The extra `osc` is not installed.
    """
    address = parse_address(target, OUTPUTS["osc"].form)
    app = address.options.pop("app", "")
    if app not in APPS:
        raise ConfigError(f"{address.name}: app is {shown(app)}; expected {' or '.join(APPS)}{did_you_mean(app, APPS)}")
    require("pythonosc", "osc", "OSC")
    if app == "vmc":
        from fer_edge.live.outputs.vmc import make_vmc

        return make_vmc(address, labels, note)
    from fer_edge.live.outputs.vrchat import make_vrchat

    return make_vrchat(address, labels, note)
