"""Requests to stop: a run saves at the very step, and ends as an uninterrupted one when it goes on."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fer_edge.training import stop
from fer_edge.training.loop import Trainer
from fer_edge.training.stop import StopSignals, TrainingStopped
from tests.faces import make_ferplus
from tests.training.test_loop import CONFIG, Quiet, trainer

STOPPED = replace(CONFIG, epochs=2, mixup=0.2, targets="probability")


class Asking(Quiet):
    """Asks to stop after a step, or while images are validated."""

    def __init__(self, epoch: int, done: int, *, validating: bool = False) -> None:
        super().__init__()
        self.place, self.in_validation, self.asked = (epoch, done), validating, 0

    def __call__(self) -> int:
        return self.asked

    def batch(self, epoch: int, done: int, total: int, loss: float) -> None:
        if not self.in_validation and (epoch, done) == self.place:
            self.asked = signal.SIGTERM

    def validating(self, epoch: int, done: int, total: int) -> None:
        if self.in_validation and (epoch, done) == self.place:
            self.asked = signal.SIGINT


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ferplus(tmp_path_factory.mktemp("ferplus"))


@pytest.fixture(scope="module")
def whole(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    run = trainer(faces, tmp_path_factory.mktemp("whole"), STOPPED)
    run.run(Quiet())
    return run


@pytest.mark.parametrize(
    ("asking", "place", "saved"),
    [
        (Asking(0, 1), "epoch 1 at step 2 of 6", (0, 2)),
        (Asking(0, 5), "epoch 1 at step 6 of 6", (0, 6)),
        (Asking(0, 8, validating=True), "epoch 1 at step 6 of 6", (0, 6)),
        (Asking(1, 2), "epoch 2 at step 3 of 6", (1, 3)),
        (Asking(1, 12, validating=True), "epoch 2 at step 6 of 6", (1, 6)),
    ],
)
def test_a_stopped_run_ends_as_an_uninterrupted_one(
    faces: Path, tmp_path: Path, whole: Trainer, asking: Asking, place: str, saved: tuple[int, int]
) -> None:
    with pytest.raises(TrainingStopped, match=f"stopped in {place}; the same command goes on from there") as caught:
        trainer(faces, tmp_path, STOPPED).run(asking, asking)
    assert caught.value.signal == (signal.SIGINT if asking.in_validation else signal.SIGTERM)
    again = trainer(faces, tmp_path, STOPPED)
    assert again.resume() and (again.next_epoch, again.next_step) == saved
    again.run(Quiet())
    kept = [(result.loss, result.accuracy) for result in whole.results]
    assert [(result.loss, result.accuracy) for result in again.results] == kept
    for (name, a), b in zip(whole.average.state_dict().items(), again.average.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert again.files.best.read_bytes() == whole.files.best.read_bytes()


def test_a_device_that_is_read_seldom_stops_at_the_step_all_the_same(
    faces: Path, tmp_path: Path, whole: Trainer
) -> None:
    run, calls = trainer(faces, tmp_path, STOPPED), iter(range(100))
    run.check_every = 4  # as on a GPU
    with pytest.raises(TrainingStopped, match="stopped in epoch 1 at step 3 of 6"):
        run.run(Quiet(), lambda: signal.SIGINT if next(calls) >= 2 else 0)
    again = trainer(faces, tmp_path, STOPPED)
    assert again.resume() and again.next_step == 3
    again.run(Quiet())
    assert [result.loss for result in again.results] == [result.loss for result in whole.results]


@pytest.fixture
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in stop.SIGNALS}
    yield
    assert {number: signal.getsignal(number) for number in stop.SIGNALS} == before


@pytest.mark.usefixtures("handlers")
def test_a_signal_is_noted_and_a_second_one_interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [10.0]
    monkeypatch.setattr("fer_edge.training.stop.time.monotonic", lambda: now[0])
    with StopSignals() as asked:
        assert asked() == 0
        signal.raise_signal(signal.SIGTERM)
        assert asked() == signal.SIGTERM
        now[0] += 0.1
        signal.raise_signal(signal.SIGINT)  # one more copy, as a launcher sends it
        assert asked() == signal.SIGTERM
        now[0] += 1
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_signals_that_the_process_ignores_stay_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    try:
        with StopSignals() as asked:
            signal.raise_signal(signal.SIGHUP)
            assert asked() == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
