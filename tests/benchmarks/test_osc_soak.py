"""Soak test of OSC outputs: a short run, and its comparison of messages."""

from __future__ import annotations

import pytest

from benchmarks import osc_soak
from tests.live.outputs.receivers import Message, require_tools

A, B, C = (Message(f"/{name}", "f", (0.5,)) for name in "abc")


def test_lost_and_wrong_messages_are_counted() -> None:
    assert osc_soak.compare([A, B, C], [A, B, C]) == {
        "sent": 3, "received": 3, "wrong": 0, "lost": 0, "sent to nobody": 0,
    }  # fmt: skip
    assert osc_soak.compare([A, B, C], [A, C])["lost"] == 1
    assert osc_soak.compare([A, B], [A])["lost"] == 1
    assert osc_soak.compare([A], [Message("/a", "f", (0.50001,))])["wrong"] == 1
    assert osc_soak.compare([A], [Message("/a", "f", (0.5000005,))])["wrong"] == 0


@pytest.mark.slow  # two receivers for three seconds
def test_short_run_has_no_wrong_message(capsys: pytest.CaptureFixture[str]) -> None:
    require_tools("liblo-tools", "oscdump")
    assert osc_soak.main(["--minutes", "0.05", "--pause", "0.3"]) == 0
    assert '"bundles of no frame": 0' in capsys.readouterr().out
