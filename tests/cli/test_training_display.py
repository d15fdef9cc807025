"""Progress display of a training: remaining times, validation, lines of a log."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fer_edge.cli import training_display
from fer_edge.cli.training_display import Pace, TrainingDisplay
from fer_edge.training.results import EpochResult


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def result(epoch: int) -> EpochResult:
    return EpochResult(epoch, 1.25, 50.0, 40.0, 60.0, 30.0, 70.0)


def make_trainer(steps: int, epochs: int, epoch: int = 0, step: int = 0) -> Any:
    """Make a stand-in for a trainer."""
    return SimpleNamespace(
        config=SimpleNamespace(epochs=epochs),
        batches=SimpleNamespace(steps=steps),
        next_epoch=epoch,
        next_step=step,
        results=[],
    )


def test_remaining_times_include_epochs_and_validation() -> None:
    clock = Clock()
    pace = Pace(10, 3, clock=clock)
    clock.now += 60  # compilation
    pace.batch(0, 1)
    for done in range(2, 6):
        clock.now += 2
        pace.batch(0, done)
    assert pace.remaining() == (10, 50)  # five steps, then two epochs of ten
    for done in range(6, 11):
        clock.now += 2
        pace.batch(0, done)
    pace.validating(0, 40)
    clock.now += 3
    pace.validating(10, 40)
    assert pace.remaining()[0] == 9
    clock.now += 9
    pace.validating(40, 40)
    pace.epoch()
    clock.now += 2
    pace.batch(1, 1)
    assert pace.remaining() == (18 + 12, 18 + 12 + 20 + 12)
    clock.now += 2
    pace.batch(1, 2)
    assert pace.remaining()[0] == 16 + 12


def test_a_resumed_run_times_only_its_own_steps() -> None:
    clock = Clock()
    pace = Pace(10, 2, epoch=1, done=6, clock=clock)
    clock.now += 3
    pace.batch(1, 7)
    assert pace.remaining() == (9, 9)


def test_a_log_has_a_line_every_30_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    display = TrainingDisplay(make_trainer(100, 2), clock)
    for epoch in (0, 1):
        for done in range(1, 101):
            clock.now += 1
            display.on_batch(epoch, done, 100, 2.5)
        for done in range(0, 121, 20):
            display.on_validation(epoch, done, 120)
            clock.now += 10
        display.on_epoch(result(epoch))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == ("epoch 1 of 2, loss 2.500: 30 of 100 steps (30 %), 1:10 left in the epoch, 2:50 in the run")
    assert "epoch 1 of 2, validating: 40 of 120 images (33 %), 0:40 left in the epoch, 2:20 in the run" in lines
    assert (
        "epoch 1: loss 1.250, validation 60.00 % (mean of classes 30.00 %, label 50.00 %, text 40.00 %), 70 s" in lines
    )
    second = [line for line in lines if line.startswith("epoch 2 of 2, loss")]
    assert second[0].endswith("30 of 100 steps (30 %), 2:20 left in the epoch, 2:20 in the run")
    assert len(lines) == 2 * (3 + 2 + 1)


def test_a_terminal_shows_steps_validation_and_times(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    console = Console(force_terminal=True, width=80, record=True, color_system=None, highlight=False)
    monkeypatch.setattr(training_display, "err_console", lambda: console)
    clock = Clock()
    display = TrainingDisplay(make_trainer(10, 2, epoch=1, step=2), clock)
    for done in (3, 4):
        clock.now += 5
        display.on_batch(1, done, 10, 1.5)
    console.print(display._view())
    display.on_validation(1, 0, 60)
    clock.now += 5
    display.on_validation(1, 20, 60)
    console.print(display._view())
    shown = console.export_text().splitlines()
    bars = [line for line in shown if "epoch 2 of 2" in line]
    assert bars[0].startswith("epoch 2 of 2, loss 1.500") and bars[0].rstrip().endswith("4/10 0:30 left, run 0:30")
    assert bars[1].startswith("epoch 2 of 2, validating") and bars[1].rstrip().endswith("20/60 0:10 left, run 0:10")
