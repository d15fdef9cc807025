"""VMC output: expressions of a VRM avatar over the Virtual Motion Capture protocol, as an assistant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from fer_edge.errors import ConfigError
from fer_edge.live.outputs import Note
from fer_edge.live.outputs.address import Address, convert_options
from fer_edge.live.outputs.fader import Fader
from fer_edge.live.outputs.mapping import AvatarMapping, Value, read_mapping
from fer_edge.live.outputs.osc import Encoder, OscOutput
from fer_edge.live.outputs.people import ALL, LARGEST, Choice

if TYPE_CHECKING:
    from fer_edge.live.output import Update

PORT = 39540  # at which a performer receives from assistants; 39539 belongs to marionettes
MAX_BUNDLE = 1500  # bytes of a datagram that no network divides


@dataclass(frozen=True)
class VmcOptions:
    """Options in the URL of a VMC program.

    Attributes:
        mapping: Shipped mapping, or TOML file.
        person: "largest" or the number of a person.
        rate: Largest number of bundles per second.
    """

    mapping: str = "vmc-vrm0"
    person: str = LARGEST
    rate: Annotated[float, Meta(ge=1, le=120)] = 60.0


class VmcEncoder(Encoder):
    """Encoder of all blend shapes and their application as one bundle.

    Args:
        mapping: Blend shapes of the avatar.
        person: Choice of the person, as in the URL.

    Raises:
        ConfigError: Mapping with more names than one datagram can contain.
    """

    def __init__(self, mapping: AvatarMapping, person: str) -> None:
        self._mapping, self._choice = mapping, Choice(person)
        self._fader = Fader(mapping)
        size = len(_bundle(mapping.neutral_values()))
        if size > MAX_BUNDLE:
            raise ConfigError(
                f"the mapping has {len(mapping.floats)} names in {size} bytes; expected at most {MAX_BUNDLE} bytes: "
                "divide it into two files, for two outputs"
            )

    def restart(self) -> None:
        """Send everything again, which every bundle does."""

    def encode(self, update: Update, now: float) -> Sequence[bytes]:
        person = self._choice.choose(update.people).get(0)
        return [_bundle(self._fader.update(None if person is None else person.expression, now))]

    def encode_neutral(self) -> Sequence[bytes]:
        return [_bundle(self._mapping.neutral_values())]


def make_vmc(address: Address, labels: Sequence[str], note: Note) -> OscOutput:
    """Make the output of a VMC program.

    Args:
        address: Host, port and options.
        labels: Labels of the model.
        note: Function that writes one sentence.

    Raises:
        ConfigError: Invalid option or mapping.
        EngineUnavailableError: The extra `osc` is not installed.
    """
    options = convert_options(address.options, VmcOptions, address.name)
    mapping = read_mapping(options.mapping, labels)
    if options.person == ALL:
        raise ConfigError(f"{address.name}: person is all; a VMC program has one avatar: add a target for each person")
    if mapping.ints or mapping.bools:
        raise ConfigError(f"{address.name}: the mapping {options.mapping} has ints or bools; VMC has floats only")
    encoder = VmcEncoder(mapping, options.person)
    return OscOutput("VMC program", (address.host, address.port or PORT), encoder, options.rate, note)


def _bundle(values: Mapping[str, Value]) -> bytes:
    from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
    from pythonosc.osc_message_builder import build_msg

    bundle = OscBundleBuilder(IMMEDIATELY)
    for name, value in values.items():
        bundle.add_content(build_msg("/VMC/Ext/Blend/Val", [name, float(value)]))
    bundle.add_content(build_msg("/VMC/Ext/Blend/Apply", []))
    return bundle.build().dgram
