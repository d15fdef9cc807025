"""Stop signals: a run saves at the current step, and resumes exactly."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fer_edge.training.loop import Trainer
from fer_edge.training.stop import TrainingStopped
from tests.synthetic import make_ferplus
from tests.training.test_loop import CONFIG, Quiet, make_run

STOPPED = replace(CONFIG, epochs=2, mixup=0.2, targets="probability")


class Stopping(Quiet):
    """Callback that requests a stop after a step, or in validation."""

    def __init__(self, epoch: int, done: int, *, validating: bool = False) -> None:
        super().__init__()
        self.position, self.in_validation, self.signal = (epoch, done), validating, 0

    def __call__(self) -> int:
        return self.signal

    def on_batch(self, epoch: int, done: int, total: int, loss: float) -> None:
        if not self.in_validation and (epoch, done) == self.position:
            self.signal = signal.SIGTERM

    def on_validation(self, epoch: int, done: int, total: int) -> None:
        if self.in_validation and (epoch, done) == self.position:
            self.signal = signal.SIGINT


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ferplus(tmp_path_factory.mktemp("ferplus"))


@pytest.fixture(scope="module")
def whole(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    run = make_run(faces, tmp_path_factory.mktemp("whole"), STOPPED)
    run.run(Quiet())
    return run


@pytest.mark.parametrize(
    ("stopping", "position", "saved"),
    [
        (Stopping(0, 1), "epoch 1 at step 2 of 6", (0, 2)),
        (Stopping(0, 5), "epoch 1 at step 6 of 6", (0, 6)),
        (Stopping(0, 8, validating=True), "epoch 1 at step 6 of 6", (0, 6)),
        (Stopping(1, 2), "epoch 2 at step 3 of 6", (1, 3)),
        (Stopping(1, 12, validating=True), "epoch 2 at step 6 of 6", (1, 6)),
    ],
)
def test_a_stopped_run_resumes_exactly(
    faces: Path, tmp_path: Path, whole: Trainer, stopping: Stopping, position: str, saved: tuple[int, int]
) -> None:
    with pytest.raises(TrainingStopped, match=f"stopped in {position}; run the same command to continue") as caught:
        make_run(faces, tmp_path, STOPPED).run(stopping, stopping)
    assert caught.value.signal == (signal.SIGINT if stopping.in_validation else signal.SIGTERM)
    again = make_run(faces, tmp_path, STOPPED)
    assert again.resume() and (again.next_epoch, again.next_step) == saved
    again.run(Quiet())
    expected = [(result.loss, result.accuracy) for result in whole.results]
    assert [(result.loss, result.accuracy) for result in again.results] == expected
    for (name, a), b in zip(whole.average.state_dict().items(), again.average.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert again.files.best.read_bytes() == whole.files.best.read_bytes()


def test_rare_checks_do_not_delay_a_stop(faces: Path, tmp_path: Path, whole: Trainer) -> None:
    run, calls = make_run(faces, tmp_path, STOPPED), iter(range(100))
    run.check_every = 4  # as on a GPU
    with pytest.raises(TrainingStopped, match="stopped in epoch 1 at step 3 of 6"):
        run.run(Quiet(), lambda: signal.SIGINT if next(calls) >= 2 else 0)
    again = make_run(faces, tmp_path, STOPPED)
    assert again.resume() and again.next_step == 3
    again.run(Quiet())
    assert [result.loss for result in again.results] == [result.loss for result in whole.results]
