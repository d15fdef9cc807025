"""Runs that meet NaN or infinity stop there, and keep what was good."""

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
from tests.faces import make_ferplus
from tests.training.test_loop import CONFIG, Quiet, trainer

Spoil = Callable[[Trainer], None]


class Spoiling(Quiet):
    """Changes a run after one of its steps."""

    def __init__(self, run: Trainer, epoch: int, done: int, spoil: Spoil) -> None:
        super().__init__()
        self.run, self.place, self.spoil = run, (epoch, done), spoil

    def batch(self, epoch: int, done: int, total: int, loss: float) -> None:
        assert math.isfinite(loss)
        if (epoch, done) == self.place:
            with torch.no_grad():
                self.spoil(self.run)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ferplus(tmp_path_factory.mktemp("ferplus"))


def spoil_weight(run: Trainer) -> None:
    run.learner.model.label_head.weight[0, 0] = math.nan


def spoil_gradient(run: Trainer) -> None:
    run.learner.model.label_head.bias.register_hook(lambda gradient: gradient * math.inf)


def spoil_statistics(run: Trainer) -> None:
    norm = next(module for module in run.learner.modules() if isinstance(module, nn.BatchNorm2d))
    assert norm.running_var is not None
    norm.running_var[0] = math.inf


def spoil_optimizer(run: Trainer) -> None:
    run.optimizer.state[run.learner.model.label_head.bias]["exp_avg_sq"][0] = math.inf


def averaged_head(run: Trainer) -> nn.Linear:
    return cast(TrainingModule, run.average.module).model.label_head


def spoil_average(run: Trainer) -> None:
    averaged_head(run).bias[2] = -math.inf


def spoil_validation(run: Trainer) -> None:
    for parameter in run.average.module.parameters():
        parameter.mul_(1e25)  # each is finite, but no product is


@pytest.mark.parametrize(
    ("done", "spoil", "message"),
    [
        (3, spoil_weight, "the loss is NaN or infinite in epoch 2 at step 4 of 6"),
        (3, spoil_gradient, "the gradient of model.label_head.bias is NaN or infinite in epoch 2 at step 4 of 6"),
        (3, spoil_statistics, "running_var is NaN or infinite in epoch 2 at step 4 of 6"),
        (6, spoil_optimizer, "exp_avg_sq of the optimizer for model.label_head.bias is NaN or infinite in epoch 2"),
        (6, spoil_average, "the averaged weight module.model.label_head.bias is NaN or infinite in epoch 2 at step 6"),
        (6, spoil_validation, "a logit of the validation images is NaN or infinite in epoch 2 at step 6 of 6"),
    ],
)
@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_run_stops_at_the_step_and_keeps_its_good_files(
    faces: Path, tmp_path: Path, done: int, spoil: Spoil, message: str, clip: float
) -> None:
    run = trainer(faces, tmp_path, replace(CONFIG, clip=clip))
    with pytest.raises(NonFiniteError) as caught:
        run.run(Spoiling(run, 1, done, spoil))
    text = str(caught.value)
    assert message in text and f"{tmp_path}/last.pt is kept as of epoch 1 at step 6 of 6" in text
    assert ("--set clip=1" in text) == (clip == 0) and "lower --learning-rate" in text and "another folder" in text
    assert load_checkpoint(tmp_path / "best.safetensors").info.metrics["epoch"] == 1
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert (state["next_epoch"], state["next_step"]) == (1, 0)
    assert state["best_sha256"] == file_sha256(tmp_path / "best.safetensors")
    assert {path.name for path in tmp_path.iterdir()} == {"best.safetensors", "last.pt"}


@pytest.mark.parametrize(
    ("spoil", "message"), [(spoil_weight, "the loss"), (spoil_gradient, "a gradient"), (spoil_statistics, "a weight")]
)
def test_a_device_that_is_read_seldom_still_names_the_step(
    faces: Path, tmp_path: Path, spoil: Spoil, message: str
) -> None:
    run = trainer(faces, tmp_path)
    run.check_every, run.numbers._at_once = 3, False  # as on a GPU
    with pytest.raises(NonFiniteError, match=f"{message} is NaN or infinite in epoch 2 at step 4 of 6; .* epoch 1 at"):
        run.run(Spoiling(run, 1, 3, spoil))
    assert load_checkpoint(tmp_path / "best.safetensors").info.metrics["epoch"] == 1


def test_a_resume_point_in_mid_epoch_is_checked_before_it_is_written(faces: Path, tmp_path: Path) -> None:
    run = trainer(faces, tmp_path, replace(CONFIG, save_minutes=0))
    with pytest.raises(NonFiniteError, match=r"averaged weight .* epoch 1 at step 3 of 6; .* as of epoch 1 at step 2"):
        run.run(Spoiling(run, 0, 3, spoil_average))
    assert torch.load(tmp_path / "last.pt", weights_only=True)["next_step"] == 2


def test_weights_beyond_every_number_are_named_in_their_own_step(faces: Path, tmp_path: Path) -> None:
    config = TrainingConfig(epochs=4, batch=8, optimizer="sgd", clip=0, schedule="step", learning_rate=1e38)
    with pytest.raises(NonFiniteError, match=r"(the weight model\.|the loss).* in epoch 1 at step [12] of 6\. Train"):
        trainer(faces, tmp_path, config).run(Quiet())
    assert not list(tmp_path.iterdir())


def test_a_dry_run_looks_at_its_numbers(faces: Path, tmp_path: Path) -> None:
    run = trainer(faces, tmp_path)
    with torch.no_grad():
        spoil_weight(run)
    with pytest.raises(NonFiniteError, match="the loss is NaN or infinite in epoch 1 at step 1 of 6"):
        run.dry_run()


def test_the_first_tensor_is_named() -> None:
    whole, torn = torch.ones(2), torch.tensor([1.0, math.nan])
    assert first_nonfinite([("a", whole), ("n", torch.tensor([1, 2]))]) is None
    assert first_nonfinite([("a", whole), ("b", torn), ("c", torn)]) == "b"
    assert first_nonfinite([]) is None


def test_a_run_that_predicts_one_label_says_which(faces: Path, tmp_path: Path) -> None:
    run = trainer(faces, tmp_path, replace(CONFIG, epochs=1))
    with torch.no_grad():
        averaged_head(run).weight.zero_()
        averaged_head(run).bias.copy_(1e6 * torch.eye(8)[7])
    run.validation._info = replace(run.info, head="label")
    assert run._validate(1.0, 0.0, Quiet()).only_label == "contempt"
    with torch.no_grad():
        averaged_head(run).weight.normal_(generator=torch.Generator().manual_seed(0))
        averaged_head(run).bias.zero_()
    assert run._validate(1.0, 0.0, Quiet()).only_label is None
