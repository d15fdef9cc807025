"""Targets of outputs: kinds, addresses and options."""

from __future__ import annotations

from importlib import import_module

import pytest

from fer_edge.errors import ConfigError
from fer_edge.live.outputs import OUTPUTS, make_output, output_kind
from fer_edge.live.outputs.address import parse_address
from tests.live.outputs.updates import LABELS

FORM = "osc://HOST:PORT"


@pytest.mark.parametrize("key", OUTPUTS)
def test_every_kind_of_output_has_its_function(key: str) -> None:
    module, _, function = OUTPUTS[key].function.partition(":")
    assert callable(getattr(import_module(module), function))
    assert output_kind(OUTPUTS[key].form) is OUTPUTS[key]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("osk://127.0.0.1", "no output for 'osk://127.0.0.1'; expected one of: osc://.*did you mean osc?"),
        ("results", "no output for 'results'; expected one of: "),
        ("osc://127.0.0.1:9000", "osc://127.0.0.1:9000: app is ''; expected vrchat or vmc"),
        ("osc://127.0.0.1?app=vrc", "app is 'vrc'; expected vrchat or vmc; did you mean vrchat?"),
        ("osc://127.0.0.1?app", "'app' in .*; expected each option once, as NAME=VALUE: osc://"),
        ("osc://127.0.0.1?app=vmc&app=vmc", "'app=vmc' in .*; expected each option once"),
        ("osc://?app=vmc", "the target is 'osc://.app=vmc'; expected osc://"),
        ("osc://127.0.0.1:0?app=vmc", "the target is .*; expected osc://"),
        ("osc://127.0.0.1:99999?app=vmc", "is not a URL: Port out of range 0-65535; expected osc://"),
        ("osc://127.0.0.1/avatar?app=vmc", "the target is .*; expected osc://"),
        (
            "osc://127.0.0.1?app=vmc&rate=fast",
            "osc://127.0.0.1: rate is 'fast'; expected a finite number from 1 to 120",
        ),
        ("osc://127.0.0.1?app=vrchat&rate=30", "rate is '30'; expected a finite number from 1 to 10"),
        ("osc://127.0.0.1?app=vrchat&raet=5", "raet is not known; did you mean rate?"),
        ("osc://127.0.0.1?app=vrchat&listen=-1", "listen is '-1'; expected a whole number from 0 to 65535"),
        ("osc://127.0.0.1?app=vrchat&discover=1", "discover is '1'; expected one of: off, loopback, network"),
        ("osc://127.0.0.1?app=vrchat&person=me", "person is 'me'; expected largest, all or the number of a person"),
        ("osc://127.0.0.1?app=vmc&person=all", "person is all; a VMC program has one avatar: add a target"),
        ("osc://127.0.0.1?app=vmc&mapping=vrchat", "the mapping vrchat has ints or bools; VMC has floats only"),
        (
            "osc://127.0.0.1?app=vmc&mapping=none",
            "no mapping at none; expected a file, or one that is shipped: vmc-vrm0",
        ),
    ],
)
def test_wrong_target_is_refused(target: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_output(target, LABELS, print)


def test_address_has_decoded_options() -> None:
    address = parse_address("osc://[::1]:9000?mapping=my%20files/a+b.toml&rate=5", FORM)
    assert (address.name, address.host, address.port) == ("osc://[::1]:9000", "::1", 9000)
    assert address.options == {"mapping": "my files/a+b.toml", "rate": "5"}
    assert parse_address("osc://pc.local", FORM).port is None
