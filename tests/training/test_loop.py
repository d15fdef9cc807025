"""Training on a tiny synthetic FERPlus: learning, resuming, invalid resume points."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fer_edge.data.augment import Augmentation, resize
from fer_edge.data.degrade import Degradation
from fer_edge.data.layouts import read_split
from fer_edge.errors import CheckpointError, ConfigError
from fer_edge.labels import FERPLUS
from fer_edge.model.checkpoint import Checkpoint, load_checkpoint
from fer_edge.model.ferformer import FERFormer, Output
from fer_edge.model.heads import head_probabilities
from fer_edge.training.config import TrainingConfig
from fer_edge.training.dataset import load_data
from fer_edge.training.loop import Trainer
from fer_edge.training.module import TrainingModule
from fer_edge.training.results import EpochResult
from fer_edge.training.stop import TrainingStopped
from tests.synthetic import make_ferplus
from tests.tiny_model import checkpoint_of, tiny_config

NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
CONFIG = TrainingConfig(epochs=3, batch=8, learning_rate=4e-3, seed=3)


class Quiet:
    """Callback that ignores all events, and interrupts the run in the epoch `stop_after`."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after = stop_after

    def on_batch(self, epoch: int, done: int, total: int, loss: float) -> None:
        if epoch == self.stop_after and done == 2:
            raise KeyboardInterrupt

    def on_validation(self, epoch: int, done: int, total: int) -> None:
        pass

    def on_epoch(self, result: EpochResult) -> None:
        pass


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ferplus(tmp_path_factory.mktemp("ferplus"))


def make_run(
    faces: Path,
    folder: Path,
    config: TrainingConfig = CONFIG,
    teacher: Checkpoint | None = None,
    checkpoint: Checkpoint | None = None,
) -> Trainer:
    torch.manual_seed(config.seed)
    data = load_data(read_split(faces, "train"), read_split(faces, "valid"), config)
    checkpoint = checkpoint or checkpoint_of(FERFormer(tiny_config(depth=1)))
    return Trainer(
        TrainingModule(checkpoint.model), checkpoint.info, config, data, folder, [teacher] if teacher else []
    )


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(faces: Path, tmp_path: Path) -> None:
    whole = make_run(faces, tmp_path / "whole")
    whole.run(Quiet())
    assert whole.results[-1].loss < whole.results[0].loss
    best = load_checkpoint(tmp_path / "whole" / "best.safetensors")
    assert best.info.metrics["validation_images"] == 12

    with pytest.raises(KeyboardInterrupt):
        make_run(faces, tmp_path / "cut").run(Quiet(stop_after=1))
    again = make_run(faces, tmp_path / "cut")
    assert again.resume()
    assert again.next_epoch == 1
    again.run(Quiet())
    assert [(r.loss, r.accuracy) for r in again.results] == [(r.loss, r.accuracy) for r in whole.results]
    for (name, a), b in zip(whole.average.state_dict().items(), again.average.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("accelerator", ["nonsense", pytest.param("cuda", marks=NO_CUDA)])
def test_a_missing_accelerator_is_refused(faces: Path, tmp_path: Path, accelerator: str) -> None:
    with pytest.raises(ConfigError, match=f"accelerator '{accelerator}' cannot be used"):
        make_run(faces, tmp_path, replace(CONFIG, accelerator=accelerator))


@pytest.mark.slow
def test_runs_with_mixup_and_teacher_resume_exactly(faces: Path, tmp_path: Path) -> None:
    make_run(faces, tmp_path / "teacher").run(Quiet())
    teacher = load_checkpoint(tmp_path / "teacher" / "best.safetensors")
    config = replace(CONFIG, mixup=0.2)
    whole = make_run(faces, tmp_path / "whole", config, teacher)
    whole.run(Quiet())
    alone = make_run(faces, tmp_path / "alone", config)
    alone.run(Quiet())
    assert [r.loss for r in whole.results] != [r.loss for r in alone.results]
    with pytest.raises(KeyboardInterrupt):
        make_run(faces, tmp_path / "cut", config, teacher).run(Quiet(stop_after=1))
    again = make_run(faces, tmp_path / "cut", config, teacher)
    assert again.resume()
    again.run(Quiet())
    assert [r.loss for r in again.results] == [r.loss for r in whole.results]


def test_a_teacher_with_other_labels_is_refused(faces: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = tiny_config(depth=1)
    other = checkpoint_of(FERFormer(config)).with_info(labels=FERPLUS.labels[::-1])
    with pytest.raises(CheckpointError, match="a teacher has other labels"):
        make_run(faces, tmp_path, CONFIG, other)


def test_other_and_damaged_resume_points_are_refused(faces: Path, tmp_path: Path) -> None:
    assert not make_run(faces, tmp_path).resume()
    short = make_run(faces, tmp_path, TrainingConfig(epochs=1, batch=8))
    short.run(Quiet())
    with pytest.raises(CheckpointError, match="belongs to a run with other settings"):
        make_run(faces, tmp_path).resume()
    state = torch.load(short.files.last, weights_only=True)
    for damaged, message in (
        ({name: value for name, value in state.items() if name != "results"}, "'results'"),
        ({**state, "results": []}, "0 results of 1 epochs"),
        ({**state, "module": {}}, "Missing key"),
        ([state], "list indices"),
    ):
        torch.save(damaged, short.files.last)
        with pytest.raises(CheckpointError, match=rf"(?s)last\.pt cannot be resumed from: .*{message}.*; remove it to"):
            make_run(faces, tmp_path, short.config).resume()
    torch.save(state, short.files.last)
    short.files.last.write_bytes(short.files.last.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot be resumed from"):
        make_run(faces, tmp_path).resume()


def test_a_run_resumes_only_with_equal_inputs(faces: Path, tmp_path: Path) -> None:
    config = TrainingConfig(epochs=1, batch=8)
    make_run(faces, tmp_path / "run", config).run(Quiet())
    assert make_run(faces, tmp_path / "run", config).resume()
    others = make_ferplus(tmp_path / "ferplus")
    image = others / "FER2013Train" / "5.png"
    image.write_bytes((others / "FER2013Train" / "8.png").read_bytes())  # the same class and count, other pixels
    torch.manual_seed(config.seed)
    same = checkpoint_of(FERFormer(tiny_config(depth=1)))
    torch.manual_seed(config.seed)
    features = checkpoint_of(FERFormer(tiny_config(depth=1)))
    assert features.model.text_head is not None
    with torch.no_grad():
        features.model.text_head.text_features.mul_(-1)
    for data, checkpoint in (
        (others, None),
        (faces, same.with_info(mean=(0.5, 0.5, 0.5))),
        (faces, same.with_info(templates=("{}",))),
        (faces, features),
    ):
        with pytest.raises(CheckpointError, match="belongs to a run with other settings"):
            make_run(data, tmp_path / "run", config, checkpoint=checkpoint).resume()


@pytest.mark.parametrize("mean", [(0.57, 0.45, 0.40), (0.5, 0.5, 0.5)])
def test_a_grey_stem_is_trained_with_its_later_input(faces: Path, tmp_path: Path, mean: tuple[float, ...]) -> None:
    stem = replace(tiny_config().stem, color="grey")
    checkpoint = checkpoint_of(FERFormer(tiny_config(depth=1, stem=stem))).with_info(mean=mean, std=(0.2, 0.2, 0.2))
    run = make_run(faces, tmp_path, checkpoint=checkpoint)
    assert run.data.valid_images.shape[1] == 1 and run.channels == (1 if len(set(mean)) == 1 else 3)
    model, info = run._average_model(), run.info
    images = resize(run.data.valid_images.float() / 255, 112).expand(-1, 3, -1, -1)
    mean_, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (info.mean, info.std))
    with torch.no_grad():
        expected = model((images - mean_) / std)[0]
    torch.testing.assert_close(
        run.validation.predict(model, run.data.valid_images).label_logits, expected, rtol=1e-4, atol=1e-4
    )


def test_grey_training_and_colour_validation_work(faces: Path, tmp_path: Path) -> None:
    stem = replace(tiny_config().stem, color="grey")
    info = checkpoint_of(FERFormer(tiny_config(depth=1, stem=stem))).with_info(mean=(0.5,) * 3, std=(0.2,) * 3)
    data = load_data(read_split(faces, "train"), read_split(faces, "valid"), CONFIG)
    data = replace(data, valid_images=data.valid_images.expand(-1, 3, -1, -1))
    run = Trainer(TrainingModule(info.model), info.info, replace(CONFIG, epochs=1), data, tmp_path)
    run.run(Quiet())
    assert len(run.results) == 1


def test_the_accuracy_is_of_the_models_head(faces: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    checkpoint = checkpoint_of(FERFormer(tiny_config(depth=1)))
    text = make_run(faces, tmp_path, checkpoint=checkpoint)._validate(0.0, 0.0, Quiet()).text_accuracy
    label = 7 if text else 0  # contempt, which no image has, or neutral, which a third have
    with torch.no_grad():
        checkpoint.model.label_head.weight.zero_()
        checkpoint.model.label_head.bias.copy_(torch.eye(8)[label])
    for head, accuracy in (("label", 0.0 if label else 33.333), ("text", text)):
        result = make_run(faces, tmp_path, checkpoint=checkpoint.with_info(head=head))._validate(0.0, 0.0, Quiet())
        assert (result.accuracy, result.text_accuracy) == (accuracy, text)


def test_the_momentum_of_sgd_is_the_configured_one(faces: Path, tmp_path: Path) -> None:
    run = make_run(faces, tmp_path, replace(CONFIG, optimizer="sgd", schedule="one-cycle", momentum=0.5))
    for _ in range(3):
        run._step(next(run.batches.epoch(0)))
        assert {group["momentum"] for group in run.optimizer.param_groups} == {0.5}


@pytest.mark.slow
def test_a_run_resumes_inside_an_epoch(faces: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, save_minutes=0, class_weights="balanced", label_smoothing=0.1)
    whole = make_run(faces, tmp_path / "whole", config)
    whole.run(Quiet())
    with pytest.raises(KeyboardInterrupt):
        make_run(faces, tmp_path / "cut", config).run(Quiet(stop_after=1))
    again = make_run(faces, tmp_path / "cut", config)
    assert again.resume()
    assert (again.next_epoch, again.next_step) == (1, 1)
    again.run(Quiet())
    assert [(r.loss, r.accuracy) for r in again.results] == [(r.loss, r.accuracy) for r in whole.results]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"targets": "multi_target"},
        {"targets": "probability"},
        {"optimizer": "sgd", "schedule": "step", "step_epochs": 1, "learning_rate": 0.02},
        {"schedule": "cosine", "class_weights": "balanced", "clip": 0.0, "ema": 0.0},
    ],
)
def test_every_kind_of_training_reduces_the_loss(faces: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    run = make_run(faces, tmp_path, replace(CONFIG, **changes))
    run.run(Quiet())
    assert run.results[-1].loss < run.results[0].loss


def test_early_stop_counts_epochs_without_improvement(faces: Path, tmp_path: Path) -> None:
    run = make_run(faces, tmp_path, replace(CONFIG, epochs=50, early_stop=2))
    run.results = [EpochResult(epoch, 1, 50, 50, accuracy, 50, 1) for epoch, accuracy in enumerate([60, 70, 65])]
    run.next_epoch = 3
    assert not run.done
    run.results.append(EpochResult(3, 1, 50, 50, 69, 50, 1))
    run.next_epoch = 4
    assert run.done and run.best.epoch == 1


def test_learning_rates_of_parts_are_separate(faces: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, stem_rate=0.1, text_rate=0.0, schedule="step", optimizer="sgd")
    run = make_run(faces, tmp_path, config)
    before = {name: value.clone() for name, value in run.module.state_dict().items()}
    run._step(next(run.batches.epoch(0)))
    after = run.module.state_dict()
    assert torch.equal(after["model.text_head.projection.weight"], before["model.text_head.projection.weight"])
    assert not torch.equal(after["model.label_head.weight"], before["model.label_head.weight"])
    assert {group["lr"] for group in run.optimizer.param_groups} == {4e-4, 4e-3, 0.0}


def test_a_dry_run_writes_nothing(faces: Path, tmp_path: Path) -> None:
    assert make_run(faces, tmp_path / "run").dry_run() > 0
    assert not (tmp_path / "run").exists()


def test_teachers_get_the_clean_view(faces: Path, tmp_path: Path) -> None:
    damaged = Augmentation(erasing=1.0, degradation=Degradation(share=1.0, faults=1.0))
    config = replace(CONFIG, mixup=0.2, distillation_view="clean", augmentation=damaged)
    clean = next(make_run(faces, tmp_path, config).batches.epoch(0))
    same = next(make_run(faces, tmp_path, replace(config, distillation_view="same")).batches.epoch(0))
    assert same.clean is same.images
    assert torch.equal(clean.images, same.images) and torch.equal(clean.targets, same.targets)
    assert float((clean.clean - clean.images).abs().mean()) > 0.05
    run = make_run(faces, tmp_path, config)
    teacher = Checkpoint(FERFormer(run.module.model.config), run.info)
    run = make_run(faces, tmp_path, config, teacher)
    assert torch.isfinite(run._step(clean))


def test_answers_for_stored_images_become_targets_without_a_teacher_in_the_steps(faces: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, distillation_view="stored", distillation=0.5)
    plain = make_run(faces, tmp_path, replace(config, distillation_view="same"))
    teacher = Checkpoint(FERFormer(plain.module.model.config).eval(), plain.info)
    run = make_run(faces, tmp_path, config, teacher)
    run._store_answers()
    answers = run.batches.answers
    assert answers is not None and answers.shape == run.data.targets.shape
    images = plain._normalise(resize(plain.data.images.float() / 255, 112))
    with torch.no_grad():
        outputs = [Output(*teacher.model(view)) for view in (images, images.flip(3))]
    views = [head_probabilities(output.label_logits, output.text_logits, "mean") for output in outputs]
    torch.testing.assert_close(answers, (views[0] + views[1]) / 2)
    batch, before = next(run.batches.epoch(0)), next(plain.batches.epoch(0))
    assert torch.equal(batch.images, before.images) and not torch.equal(batch.targets, before.targets)
    torch.testing.assert_close(batch.targets.sum(dim=1), torch.ones(len(batch.targets)))
    assert run.teachers.blend(batch.images, batch.targets) is batch.targets
    assert run.teachers.sha256 == [teacher.fingerprint()]


def test_a_stop_ends_the_teachers_predictions(faces: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, distillation_view="stored")
    plain = make_run(faces, tmp_path, CONFIG)
    run = make_run(faces, tmp_path, config, Checkpoint(FERFormer(plain.module.model.config), plain.info))
    with pytest.raises(TrainingStopped, match="stopped before the first step; no resume point was written yet"):
        run.run(Quiet(), lambda: 2)
    assert run.batches.answers is None and not run.files.last.exists()


def test_a_resumed_run_does_not_repeat_the_teachers_predictions(faces: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, distillation_view="stored", epochs=1)
    plain = make_run(faces, tmp_path, CONFIG)
    teacher = Checkpoint(FERFormer(plain.module.model.config), plain.info)
    run = make_run(faces, tmp_path, config, teacher)

    class Interrupting(Quiet):
        def on_batch(self, epoch: int, step: int, steps: int, loss: float) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # as a killed run: at its first step
        run.run(Interrupting())
    assert run.resume_point() == f"{run.files.last} has the state of the start"
    resumed = make_run(faces, tmp_path, config, teacher)
    assert resumed.resume()
    assert resumed.batches.answers is not None and run.batches.answers is not None
    assert torch.equal(resumed.batches.answers, run.batches.answers) and not resumed._store_answers()
    resumed.run(Quiet())
    assert resumed.done
