"""Training on a tiny made-up FERPlus: it learns, and an interrupted run ends as an uninterrupted one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fer_edge.errors import CheckpointError, ConfigError
from fer_edge.labels import FERPLUS
from fer_edge.model.checkpoint import Checkpoint, load_checkpoint
from fer_edge.model.ferformer import FERFormer
from fer_edge.training.config import TrainingConfig
from fer_edge.training.ferplus import ferplus_info, ferplus_training_data
from fer_edge.training.loop import EpochResult, Trainer
from tests.tiny_model import tiny_config

NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
CONFIG = TrainingConfig(epochs=3, batch=8, learning_rate=4e-3, seed=3)


class Quiet:
    """Hears nothing, and stops the run after some epochs where asked to."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after = stop_after

    def batch(self, epoch: int, done: int, total: int, loss: float) -> None:
        if epoch == self.stop_after and done == 2:
            raise KeyboardInterrupt

    def epoch(self, result: EpochResult) -> None:
        pass


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes told apart by brightness."""
    root = tmp_path_factory.mktemp("ferplus")
    rng = np.random.default_rng(0)
    for folder, count in (("FER2013Train", 48), ("FER2013Valid", 12)):
        (root / folder).mkdir()
        lines = []
        for index in range(count):
            label = index % 3
            pixels = np.clip(rng.normal(60 + 70 * label, 20, (48, 48)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{index}.png")
            votes = [0] * 10
            votes[label] = 9
            lines.append(f'{index}.png,"(0, 0, 48, 48)",' + ",".join(map(str, votes)))
        (root / folder / "label.csv").write_text("\n".join(lines) + "\n")
    return root


def trainer(faces: Path, folder: Path, config: TrainingConfig = CONFIG, teacher: Checkpoint | None = None) -> Trainer:
    torch.manual_seed(config.seed)
    model_config = tiny_config(depth=1)
    info = ferplus_info(model_config, (), "learned")
    return Trainer(
        FERFormer(model_config),
        info,
        config,
        ferplus_training_data(faces, config),
        folder,
        [teacher] if teacher else [],
    )


def test_it_learns_and_resumes_to_the_same_result(faces: Path, tmp_path: Path) -> None:
    whole = trainer(faces, tmp_path / "whole")
    whole.run(Quiet())
    assert whole.results[-1].loss < whole.results[0].loss
    best = load_checkpoint(tmp_path / "whole" / "best.safetensors")
    assert best.info.metrics["validation_images"] == 12
    assert best.info.text_source == "learned"

    with pytest.raises(KeyboardInterrupt):
        trainer(faces, tmp_path / "cut").run(Quiet(stop_after=1))
    again = trainer(faces, tmp_path / "cut")
    assert again.resume()
    assert again.next_epoch == 1
    again.run(Quiet())
    assert [(r.loss, r.mean_accuracy) for r in again.results] == [(r.loss, r.mean_accuracy) for r in whole.results]
    for (name, a), b in zip(whole.average.state_dict().items(), again.average.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("accelerator", ["nonsense", pytest.param("cuda", marks=NO_CUDA)])
def test_an_accelerator_that_is_not_there_is_refused(faces: Path, tmp_path: Path, accelerator: str) -> None:
    with pytest.raises(ConfigError, match=f"accelerator '{accelerator}' cannot be used"):
        trainer(faces, tmp_path, replace(CONFIG, accelerator=accelerator))


def test_mixed_and_taught_runs_resume_to_the_same_result(faces: Path, tmp_path: Path) -> None:
    trainer(faces, tmp_path / "teacher").run(Quiet())
    teacher = load_checkpoint(tmp_path / "teacher" / "best.safetensors")
    config = replace(CONFIG, mixup=0.2)
    whole = trainer(faces, tmp_path / "whole", config, teacher)
    whole.run(Quiet())
    alone = trainer(faces, tmp_path / "alone", config)
    alone.run(Quiet())
    assert [r.loss for r in whole.results] != [r.loss for r in alone.results]
    with pytest.raises(KeyboardInterrupt):
        trainer(faces, tmp_path / "cut", config, teacher).run(Quiet(stop_after=1))
    again = trainer(faces, tmp_path / "cut", config, teacher)
    assert again.resume()
    again.run(Quiet())
    assert [r.loss for r in again.results] == [r.loss for r in whole.results]


def test_a_teacher_of_other_labels_is_refused(faces: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = tiny_config(depth=1)
    info = replace(ferplus_info(config, (), "learned"), labels=FERPLUS.labels[::-1])
    with pytest.raises(CheckpointError, match="a teacher has other labels"):
        trainer(faces, tmp_path, CONFIG, Checkpoint(FERFormer(config), info))


def test_resume_points_of_other_runs_and_damaged_ones_are_refused(faces: Path, tmp_path: Path) -> None:
    assert not trainer(faces, tmp_path).resume()
    short = trainer(faces, tmp_path, TrainingConfig(epochs=1, batch=8))
    short.run(Quiet())
    with pytest.raises(CheckpointError, match="belongs to a run with other settings"):
        trainer(faces, tmp_path).resume()
    short.resume_file.write_bytes(short.resume_file.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot be resumed from"):
        trainer(faces, tmp_path).resume()
