"""VRChat output: parameters of an avatar over OSC."""

from __future__ import annotations

import re
import socket
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from fer_edge.errors import ConfigError, FerEdgeError, shown
from fer_edge.live.outputs import Note
from fer_edge.live.outputs.address import Address, convert_options
from fer_edge.live.outputs.announcement import CHANGE, LOOPBACK, Announcement
from fer_edge.live.outputs.fader import Fader
from fer_edge.live.outputs.mapping import AvatarMapping, Value, read_mapping
from fer_edge.live.outputs.osc import Encoder, OscOutput
from fer_edge.live.outputs.oscquery import AvatarParameters, Discovery, is_loopback
from fer_edge.live.outputs.people import ALL, LARGEST, Choice

if TYPE_CHECKING:
    from fer_edge.live.output import Update

PORT = 9000
PREFIX = "/avatar/parameters/"
CHANGE_MESSAGE = CHANGE.encode() + b"\0"  # start of the message that VRChat sends after a change of the avatar
# Seconds after which unchanged values are sent again: an avatar that was just loaded has not received them.
RESEND_SECONDS = 1.0
_UNSAFE = re.compile(r"[ #*,?\[\]{}]")  # pattern characters of OSC addresses; VRChat replaces blanks by underscores
DIGITS = 3  # of a float; VRChat transmits 8 bits of it to others
MAX_BYTES = 65_536  # of a datagram: Windows loses one that is longer than the buffer
MAX_DATAGRAMS = 1000  # read at once; VRChat sends every change of every parameter


@dataclass(frozen=True)
class VRChatOptions:
    """Options in the URL of an avatar in VRChat.

    Attributes:
        mapping: Shipped mapping, or TOML file.
        person: "largest", "all" or the number of a person.
        rate: Largest number of updates per second; VRChat transmits at most 10.
        listen: Port of the loopback address at which VRChat reports a change of the avatar; 0: none, or a free one that
            is announced.
        discover: Where to search for VRChat's list of the avatar's parameters, and to announce the port to a VRChat on
            this machine: "off", "loopback" or "network".
    """

    mapping: str = "vrchat"
    person: str = LARGEST
    rate: Annotated[float, Meta(ge=1, le=10)] = 10.0
    listen: Annotated[int, Meta(ge=0, le=65535)] = 0
    discover: Discovery = "off"


class ChangeListener:
    """Listener on the loopback address, to which VRChat reports changes of the avatar.

    Args:
        port: UDP port; 0: a free one.
        announcement: Announcement of the port to VRChat; None: VRChat has the port by its own options.
    """

    def __init__(self, port: int, announcement: Announcement | None = None) -> None:
        self._port, self._announcement = port, announcement
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Open the port, and announce it.

        Raises:
            FerEdgeError: Port that is in use; if a free one is not available, there is a note instead.
        """
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            listener.bind((LOOPBACK, self._port))
        except OSError as error:
            listener.close()
            if self._announcement is not None and not self._port:
                self._announcement.report(error)
                return
            raise FerEdgeError(
                f"cannot listen on port {self._port} of {LOOPBACK}: {error.strerror}; another OSC program may use it: "
                "leave out listen, since all values are sent every second anyway"
            ) from error
        listener.setblocking(False)
        self._socket = listener
        if self._announcement is not None:
            self._announcement.open(listener.getsockname()[1])

    def has_changed(self) -> bool:
        """Read all that VRChat has sent, and return whether the avatar has changed."""
        has_changed = False
        if self._socket is not None:
            with suppress(OSError):  # there is no further datagram
                for _ in range(MAX_DATAGRAMS):
                    has_changed |= self._socket.recv(MAX_BYTES).startswith(CHANGE_MESSAGE)
        return has_changed

    def close(self) -> None:
        """Withdraw the announcement, and close the port."""
        if self._announcement is not None:
            self._announcement.close()
        if self._socket is not None:
            self._socket.close()


class VRChatEncoder(Encoder):
    """Encoder of changed parameters as messages; all are sent every second, and after a change of the avatar.

    Args:
        mapping: Parameters of the avatar.
        person: Choice of the people, as in the URL.
        listener: Listener for reports of VRChat; None: there is none.
        parameters: Parameters that the avatar has; None: all are sent.
    """

    def __init__(
        self,
        mapping: AvatarMapping,
        person: str,
        listener: ChangeListener | None = None,
        parameters: AvatarParameters | None = None,
    ) -> None:
        from pythonosc.osc_message_builder import build_msg

        self._build = build_msg
        self._mapping, self._choice = mapping, Choice(person)
        self._faders = {} if person == ALL else {0: Fader(mapping)}  # by place
        self._listener, self._parameters = listener, parameters
        self._sent: dict[str, Value] = {}
        self._due = 0.0  # time at which all values are sent again

    def open(self) -> None:
        if self._listener is not None:
            self._listener.open()
        if self._parameters is not None:
            self._parameters.open()

    def restart(self) -> None:
        self._due = 0.0

    def encode(self, update: Update, now: float) -> Sequence[bytes]:
        if self._listener is not None and self._listener.has_changed():
            self._due = 0.0
            if self._parameters is not None:
                self._parameters.refresh()
        people = self._choice.choose(update.people)
        for place in people:
            self._faders.setdefault(place, Fader(self._mapping))
        values: dict[str, Value] = {}
        for place, fader in self._faders.items():
            person = people.get(place)
            fader.update(None if person is None else person.expression, now)
            values |= self._name_values(fader.values, place)
        if now >= self._due:
            self._due = now + RESEND_SECONDS
            self._sent = {}
        changed = {name: value for name, value in values.items() if self._sent.get(name) != value}
        self._sent |= changed
        return self._messages(changed)

    def encode_neutral(self) -> Sequence[bytes]:
        neutral = self._mapping.neutral_values()
        return [message for place in self._faders for message in self._messages(self._name_values(neutral, place))]

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
        if self._parameters is not None:
            self._parameters.close()

    def _name_values(self, values: Mapping[str, Value], place: int) -> dict[str, Value]:
        """Return rounded values by the name of the parameter; the place of one of several people is at its end."""
        return {
            f"{name}{place or ''}": round(value, DIGITS) if isinstance(value, float) else value
            for name, value in values.items()
        }

    def _messages(self, values: Mapping[str, Value]) -> list[bytes]:
        names: Collection[str] | None = None if self._parameters is None else self._parameters.names
        return [
            self._build(PREFIX + name, value).dgram for name, value in values.items() if names is None or name in names
        ]


def make_vrchat(address: Address, labels: Sequence[str], note: Note) -> OscOutput:
    """Make the output of an avatar in VRChat.

    Args:
        address: Host, port and options.
        labels: Labels of the model.
        note: Function that writes one sentence.

    Raises:
        ConfigError: Invalid option or mapping.
        EngineUnavailableError: The extra `osc` is not installed.
    """
    options = convert_options(address.options, VRChatOptions, address.name)
    mapping = read_mapping(options.mapping, labels)
    place = "1" if options.person == ALL else ""
    names = [f"{target.name}{place}" for target in mapping.targets()]
    unsafe = next(filter(_UNSAFE.search, names), None)
    if unsafe is not None:
        raise ConfigError(
            f"the mapping {options.mapping}: the name {shown(unsafe)}; expected no blanks and none of # * , ? [ ] {{ }}"
        )
    parameters = announcement = None
    if options.discover != "off":
        parameters = AvatarParameters(options.discover, address.host, names, note)
        if is_loopback(address.host):  # VRChat of another machine cannot send to the loopback address of this one
            announcement = Announcement(options.discover, note)
    has_listener = options.listen or announcement is not None
    listener = ChangeListener(options.listen, announcement) if has_listener else None
    encoder = VRChatEncoder(mapping, options.person, listener, parameters)
    return OscOutput("VRChat", (address.host, address.port or PORT), encoder, options.rate, note)
