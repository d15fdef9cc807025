"""NaN and infinity: runs stop at the step and keep their former files."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import nn

from fer_edge._files import file_sha256
from fer_edge.errors import NonFiniteError
from fer_edge.model.checkpoint import load_checkpoint
from fer_edge.training.config import TrainingConfig
from fer_edge.training.finite import first_nonfinite
from fer_edge.training.loop import Trainer
from fer_edge.training.module import TrainingModule
from tests.synthetic import make_ferplus
from tests.training.test_loop import CONFIG, Quiet, make_run

Change = Callable[[Trainer], None]


class Changing(Quiet):
    """Callback that changes a run after one of its steps."""

    def __init__(self, run: Trainer, epoch: int, done: int, change: Change) -> None:
        super().__init__()
        self.run, self.position, self.change = run, (epoch, done), change

    def on_batch(self, epoch: int, done: int, total: int, loss: float) -> None:
        assert math.isfinite(loss)
        if (epoch, done) == self.position:
            with torch.no_grad():
                self.change(self.run)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ferplus(tmp_path_factory.mktemp("ferplus"))


def change_weight(run: Trainer) -> None:
    run.module.model.label_head.weight[0, 0] = math.nan


def change_gradient(run: Trainer) -> None:
    run.module.model.label_head.bias.register_hook(lambda gradient: gradient * math.inf)


def change_statistics(run: Trainer) -> None:
    norm = next(module for module in run.module.modules() if isinstance(module, nn.BatchNorm2d))
    assert norm.running_var is not None
    norm.running_var[0] = math.inf


def change_optimizer(run: Trainer) -> None:
    run.optimizer.state[run.module.model.label_head.bias]["exp_avg_sq"][0] = math.inf


def average_head(run: Trainer) -> nn.Linear:
    return cast(TrainingModule, run.average.module).model.label_head


def change_average(run: Trainer) -> None:
    average_head(run).bias[2] = -math.inf


def change_validation(run: Trainer) -> None:
    for parameter in run.average.module.parameters():
        parameter.mul_(1e25)  # weights are finite, their products are not


@pytest.mark.slow
@pytest.mark.parametrize(
    ("done", "change", "message"),
    [
        (3, change_weight, "the loss is NaN or infinite in epoch 2 at step 4 of 6"),
        (3, change_gradient, "the gradient of model.label_head.bias is NaN or infinite in epoch 2 at step 4 of 6"),
        (3, change_statistics, "running_var is NaN or infinite in epoch 2 at step 4 of 6"),
        (6, change_optimizer, "exp_avg_sq of the optimizer for model.label_head.bias is NaN or infinite in epoch 2"),
        (6, change_average, "the averaged weight module.model.label_head.bias is NaN or infinite in epoch 2 at step 6"),
        (6, change_validation, "a logit of the validation images is NaN or infinite in epoch 2 at step 6 of 6"),
    ],
)
@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_run_stops_and_keeps_its_former_files(
    faces: Path, tmp_path: Path, done: int, change: Change, message: str, clip: float
) -> None:
    run = make_run(faces, tmp_path, replace(CONFIG, clip=clip))
    with pytest.raises(NonFiniteError) as caught:
        run.run(Changing(run, 1, done, change))
    text = str(caught.value)
    assert message in text and f"{tmp_path}/last.pt has the state of epoch 1 at step 6 of 6" in text
    assert ("--set clip=1" in text) == (clip == 0) and "lower --learning-rate" in text and "another folder" in text
    assert load_checkpoint(tmp_path / "best.safetensors").info.metrics["epoch"] == 1
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert (state["next_epoch"], state["next_step"]) == (1, 0)
    assert state["best_sha256"] == file_sha256(tmp_path / "best.safetensors")
    assert {path.name for path in tmp_path.iterdir()} == {"best.safetensors", "last.pt"}


@pytest.mark.parametrize(
    ("change", "message"),
    [(change_weight, "the loss"), (change_gradient, "a gradient"), (change_statistics, "a weight")],
)
def test_rare_checks_still_name_the_step(faces: Path, tmp_path: Path, change: Change, message: str) -> None:
    run = make_run(faces, tmp_path)
    run.check_every, run._step_check._on_cpu = 3, False  # as on a GPU
    with pytest.raises(NonFiniteError, match=f"{message} is NaN or infinite in epoch 2 at step 4 of 6; .* epoch 1 at"):
        run.run(Changing(run, 1, 3, change))
    assert load_checkpoint(tmp_path / "best.safetensors").info.metrics["epoch"] == 1


def test_resume_points_inside_an_epoch_are_checked(faces: Path, tmp_path: Path) -> None:
    run = make_run(faces, tmp_path, replace(CONFIG, save_minutes=0))
    with pytest.raises(
        NonFiniteError, match=r"averaged weight .* epoch 1 at step 3 of 6; .* the state of epoch 1 at step 2"
    ):
        run.run(Changing(run, 0, 3, change_average))
    assert torch.load(tmp_path / "last.pt", weights_only=True)["next_step"] == 2


def test_overflowing_weights_are_named_with_their_step(faces: Path, tmp_path: Path) -> None:
    config = TrainingConfig(epochs=4, batch=8, optimizer="sgd", clip=0, schedule="step", learning_rate=1e38)
    with pytest.raises(NonFiniteError, match=r"(the weight model\.|the loss).* in epoch 1 at step [12] of 6\. Train"):
        make_run(faces, tmp_path, config).run(Quiet())
    assert not list(tmp_path.iterdir())


def test_a_dry_run_checks_its_values(faces: Path, tmp_path: Path) -> None:
    run = make_run(faces, tmp_path)
    with torch.no_grad():
        change_weight(run)
    with pytest.raises(NonFiniteError, match="the loss is NaN or infinite in epoch 1 at step 1 of 6"):
        run.dry_run()


def test_the_first_nonfinite_tensor_is_named() -> None:
    finite, broken = torch.ones(2), torch.tensor([1.0, math.nan])
    assert first_nonfinite([("a", finite), ("n", torch.tensor([1, 2]))]) is None
    assert first_nonfinite([("a", finite), ("b", broken), ("c", broken)]) == "b"
    assert first_nonfinite([]) is None


def test_a_single_predicted_label_is_reported(faces: Path, tmp_path: Path) -> None:
    run = make_run(faces, tmp_path, replace(CONFIG, epochs=1))
    with torch.no_grad():
        average_head(run).weight.zero_()
        average_head(run).bias.copy_(1e6 * torch.eye(8)[7])
    run.validation._info = replace(run.info, head="label")
    assert run._validate(1.0, 0.0, Quiet()).only_label == "contempt"
    with torch.no_grad():
        average_head(run).weight.normal_(generator=torch.Generator().manual_seed(0))
        average_head(run).bias.zero_()
    assert run._validate(1.0, 0.0, Quiet()).only_label is None
