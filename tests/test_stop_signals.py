"""Stop signals: caught once, a second one interrupts, ignored ones stay ignored."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from fer_edge._stop_signals import SIGNALS, StopSignals


@pytest.fixture
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    assert {number: signal.getsignal(number) for number in SIGNALS} == before


@pytest.mark.usefixtures("handlers")
def test_a_second_signal_interrupts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [10.0]
    monkeypatch.setattr("fer_edge._stop_signals.time.monotonic", lambda: now[0])
    with StopSignals() as stop_signal:
        assert stop_signal() == 0
        signal.raise_signal(signal.SIGTERM)
        assert stop_signal() == signal.SIGTERM
        now[0] += 0.1
        signal.raise_signal(signal.SIGINT)  # a repetition by a launcher
        assert stop_signal() == signal.SIGTERM
        now[0] += 1
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_ignored_signals_stay_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    try:
        with StopSignals() as stop_signal:
            signal.raise_signal(signal.SIGHUP)
            assert stop_signal() == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
