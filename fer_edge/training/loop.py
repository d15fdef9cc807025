"""A training run: AdamW, one cycle, averaged weights, validation and a resume point after every epoch."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from fer_edge._files import atomic_path
from fer_edge.data.augment import mix, resize
from fer_edge.errors import CheckpointError, ConfigError, FerEdgeError
from fer_edge.model.checkpoint import Checkpoint, CheckpointInfo
from fer_edge.model.config import IMAGE_SIZE
from fer_edge.model.ferformer import FERFormer, Output
from fer_edge.model.heads import decide
from fer_edge.training.config import TrainingConfig
from fer_edge.training.losses import joint_loss

REPORT_EVERY = 10  # batches


@dataclass(frozen=True)
class TrainingData:
    """Images in memory: uint8 (N, C, H, W), C 1 or 3; distributions (N, classes) and true classes (N,)."""

    images: Tensor
    targets: Tensor
    valid_images: Tensor
    valid_labels: Tensor


@dataclass(frozen=True)
class EpochResult:
    """What one epoch came to; accuracies in percent, of the averaged weights."""

    epoch: int
    loss: float
    label_accuracy: float
    text_accuracy: float | None
    mean_accuracy: float
    seconds: float


class Listener(Protocol):
    """What follows a run, a progress display for one."""

    def batch(self, epoch: int, done: int, total: int, loss: float) -> None:
        """A batch has been learned from."""

    def epoch(self, result: EpochResult) -> None:
        """An epoch is over, its resume point written."""


class Trainer:
    """Runs epochs until the configured number; may be stopped at any time and made again on the same folder."""

    def __init__(
        self,
        model: FERFormer,
        info: CheckpointInfo,
        config: TrainingConfig,
        data: TrainingData,
        folder: Path,
        teachers: Sequence[Checkpoint] = (),
    ) -> None:
        self.info = info
        self.config = config
        self.folder = folder
        self.fabric = _fabric(config)
        self.data = TrainingData(*(self.fabric.to_device(part) for part in vars(data).values()))
        self.model = self.fabric.to_device(model.to(memory_format=torch.channels_last))
        self.teachers = [self._teacher(teacher) for teacher in teachers]
        self.average = AveragedModel(self.model, multi_avg_fn=_ema(config.ema), use_buffers=True)
        self.optimizer = torch.optim.AdamW(_parameter_groups(model, config.weight_decay), lr=config.learning_rate)
        # The optimizer stays our own name for it: Fabric's wrapper is for stepping only.
        self.learner, self.stepper = self.fabric.setup(self._compiled(self.model), self.optimizer)
        self.steps = len(data.images) // config.batch
        if self.steps == 0:
            raise FerEdgeError(f"{len(data.images)} training images are fewer than one batch of {config.batch}")
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, config.learning_rate, total_steps=config.epochs * self.steps + 1, pct_start=config.warmup
        )
        self.next_epoch = 0
        self.results: list[EpochResult] = []
        # A grey stem is spared the three equal channels of grey images; of their equal statistics one is enough.
        self.channels = data.images.shape[1] if info.config.stem.color == "grey" else 3
        self.mean = self.fabric.to_device(torch.tensor(info.mean[: self.channels]).view(1, -1, 1, 1))
        self.std = self.fabric.to_device(torch.tensor(info.std[: self.channels]).view(1, -1, 1, 1))

    @property
    def resume_file(self) -> Path:
        """Where the state after the last whole epoch lies."""
        return self.folder / "last.pt"

    def resume(self) -> bool:
        """Go on from the folder's resume point, if it has one.

        Raises:
            CheckpointError: The resume point is damaged or was made with another configuration.
        """
        if not self.resume_file.is_file():
            return False
        try:
            state = torch.load(self.resume_file, weights_only=True, map_location="cpu")
        except Exception as error:  # torch raises half a dozen unrelated types for damaged files
            raise CheckpointError(f"{self.resume_file} cannot be resumed from: {error}") from error
        made_with = {"training": self.config.to_dict(), "model": self.info.config.to_dict()}
        if json.loads(state["configuration"]) != json.loads(json.dumps(made_with)):
            raise CheckpointError(
                f"{self.resume_file} belongs to a run with other settings; use the same ones or another folder"
            )
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.next_epoch = state["next_epoch"]
        self.results = [EpochResult(**result) for result in state["results"]]
        return True

    def run(self, listener: Listener) -> Checkpoint:
        """Train to the end; the averaged weights of the best epoch are in `best.safetensors`."""
        while self.next_epoch < self.config.epochs:
            started = time.perf_counter()
            loss = self._train_epoch(listener)
            result = self._validate(loss, started)
            self.results.append(result)
            self.next_epoch += 1
            if result.mean_accuracy >= max(earlier.mean_accuracy for earlier in self.results):
                self.checkpoint(result).save(self.folder / "best.safetensors")
            self._save_resume_point()
            listener.epoch(result)
        return self.checkpoint(self.results[-1])

    def checkpoint(self, result: EpochResult) -> Checkpoint:
        """The averaged model with what the run knows about it."""
        assert isinstance(self.average.module, FERFormer)
        checkpoint = Checkpoint(self.average.module, self.info)
        metrics = {
            "epoch": result.epoch + 1,
            "validation_accuracy": result.mean_accuracy,
            "validation_images": len(self.data.valid_labels),
        }
        provenance = {**self.info.provenance, "training": self.config.to_dict(), "torch": torch.__version__}
        return checkpoint.with_info(metrics=metrics, provenance=provenance)

    def _train_epoch(self, listener: Listener) -> float:
        self.learner.train()
        total = torch.zeros((), device=self.fabric.device)
        every = 1 if self.fabric.device.type == "cpu" else REPORT_EVERY  # reading the loss waits for the device
        for done, (images, targets) in enumerate(self._batches(), start=1):
            loss = joint_loss(Output(*self.learner(images)), targets)
            self.stepper.zero_grad(set_to_none=True)
            self.fabric.backward(loss)
            self.fabric.clip_gradients(self.learner, self.stepper, max_norm=self.config.clip, error_if_nonfinite=False)
            self.stepper.step()
            self.schedule.step()
            self.average.update_parameters(self.model)
            total += loss.detach()
            if done % every == 0 or done == self.steps:
                listener.batch(self.next_epoch, done, self.steps, total.item() / done)
        return total.item() / self.steps

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Augmented batches of this epoch; seed and epoch decide them, so that a resumed run sees the same."""
        seed = self.config.seed * 100_003 + self.next_epoch
        device = self.fabric.device
        generator = torch.Generator(device).manual_seed(seed)
        shares = np.random.default_rng(seed)
        order = torch.randperm(len(self.data.images), generator=generator, device=device)
        for start in range(0, self.steps * self.config.batch, self.config.batch):
            picked = order[start : start + self.config.batch]
            images = self.config.augmentation(self.data.images[picked].float() / 255, IMAGE_SIZE, generator)
            targets = self.data.targets[picked]
            if self.config.mixup:
                share = shares.beta(self.config.mixup, self.config.mixup, len(picked)).astype(np.float32)
                images, targets = mix(images, targets, torch.from_numpy(share).to(device), generator)
            images = self._normalise(images)
            yield images, self._taught(images, targets)

    @torch.no_grad()
    def _taught(self, images: Tensor, targets: Tensor) -> Tensor:
        """Targets blended with what the teachers, together, see in the very images that the model is given."""
        if not self.teachers:
            return targets
        with self.fabric.autocast():
            outputs = [Output(*teacher(images)) for teacher in self.teachers]
        seen = [decide(label.float(), None if text is None else text.float(), "mean") for label, text in outputs]
        return torch.lerp(targets, torch.stack(seen).mean(dim=0), self.config.distillation)

    def _teacher(self, teacher: Checkpoint) -> nn.Module:
        mine, theirs = self.info, teacher.info
        if (theirs.labels, theirs.mean, theirs.std) != (mine.labels, mine.mean, mine.std):
            raise CheckpointError("a teacher has other labels or another normalisation than the model to train")
        model = teacher.model.to(memory_format=torch.channels_last).eval().requires_grad_(False)
        return self._compiled(self.fabric.to_device(model))

    def _compiled(self, model: nn.Module) -> nn.Module:
        return cast(nn.Module, torch.compile(model)) if self.config.compile else model

    def _validate(self, loss: float, started: float) -> EpochResult:
        output = self._predict(self.data.valid_images)
        labels = self.data.valid_labels

        def accuracy(scores: Tensor) -> float:
            return round(100 * (scores.argmax(dim=1) == labels).double().mean().item(), 3)

        mean = decide(output.label_logits, output.text_logits, "mean")
        return EpochResult(
            epoch=self.next_epoch,
            loss=round(loss, 5),
            label_accuracy=accuracy(output.label_logits),
            text_accuracy=None if output.text_logits is None else accuracy(output.text_logits),
            mean_accuracy=accuracy(mean),
            seconds=round(time.perf_counter() - started, 1),
        )

    @torch.inference_mode()
    def _predict(self, images: Tensor) -> Output:
        self.average.eval()
        parts = [
            Output(*self.average(self._normalise(resize(part.float() / 255, IMAGE_SIZE))))
            for part in images.split(self.config.batch)
        ]
        text = [part.text_logits for part in parts if part.text_logits is not None]
        return Output(torch.cat([part.label_logits for part in parts]), torch.cat(text) if text else None)

    def _normalise(self, images: Tensor) -> Tensor:
        images = images.expand(-1, self.channels, -1, -1)
        return ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def _save_resume_point(self) -> None:
        state = {
            "configuration": json.dumps({"training": self.config.to_dict(), "model": self.info.config.to_dict()}),
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "next_epoch": self.next_epoch,
            "results": [vars(result) for result in self.results],
        }
        with atomic_path(self.resume_file) as temporary:
            torch.save(state, temporary)


def _fabric(config: TrainingConfig) -> Fabric:
    """One device to train on.

    Raises:
        ConfigError: Fabric does not know the accelerator, or this machine has none of it.
    """
    precision: Literal["bf16-mixed", "32-true"] = "bf16-mixed" if config.amp else "32-true"
    try:
        return Fabric(accelerator=config.accelerator, devices=1, precision=precision)
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"accelerator {config.accelerator!r} cannot be used: {error} Try: auto") from error


def _ema(decay: float) -> Callable[[Any, Any, Any], None]:
    """An exponential average that forgets the random start: its decay rises from 0.1 to `decay`."""

    @torch.no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], number: Tensor | int) -> None:
        weight = 1 - min(decay, (1 + float(number)) / (10 + float(number)))
        for mean, value in zip(averaged, current, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, weight)
            else:
                mean.copy_(value)

    return update


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels only, not for biases, norms, slopes and tokens."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    decayed = [p for name, p in named if p.ndim > 1 and "token" not in name.rsplit(".", 1)[-1]]
    kept = [p for name, p in named if p.ndim <= 1 or "token" in name.rsplit(".", 1)[-1]]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
