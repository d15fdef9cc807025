"""A training run: epochs, averaged weights, validation, and a resume point every few minutes."""

from __future__ import annotations

import atexit
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, distributed, nn
from torch.optim.swa_utils import AveragedModel

from fer_edge._files import atomic_path, sha256
from fer_edge.data.augment import resize
from fer_edge.data.targets import class_weights
from fer_edge.errors import CheckpointError, ConfigError
from fer_edge.model.checkpoint import Checkpoint, CheckpointInfo
from fer_edge.model.config import IMAGE_SIZE
from fer_edge.model.ferformer import FERFormer, Output
from fer_edge.model.heads import decide
from fer_edge.training.batches import Batches, TrainingData
from fer_edge.training.config import TrainingConfig
from fer_edge.training.learner import Learner
from fer_edge.training.losses import JointLoss
from fer_edge.training.optimize import ema, make_optimizer, make_schedule
from fer_edge.training.sync_norm import with_synced_norms

REPORT_EVERY = 10  # batches
RESUME_FORMAT = 3


@dataclass(frozen=True)
class EpochResult:
    """What one epoch came to; accuracies in percent, of the averaged weights."""

    epoch: int
    loss: float
    label_accuracy: float
    text_accuracy: float | None
    accuracy: float  # of both heads' mean; the label head's, where it is alone
    mean_class_accuracy: float  # the same, over the classes that occur
    seconds: float


class Listener(Protocol):
    """What follows a run, a progress display for one."""

    def batch(self, epoch: int, done: int, total: int, loss: float) -> None:
        """A batch has been learned from."""

    def epoch(self, result: EpochResult) -> None:
        """An epoch is over, its resume point written."""


class Trainer:
    """Runs epochs until the configured number; may be stopped at any time and made again on the same folder.

    Several processes, started by `torchrun` or by Fabric, each make one and call the same methods; the first writes.
    """

    def __init__(
        self,
        learner: Learner,
        info: CheckpointInfo,
        config: TrainingConfig,
        data: TrainingData,
        folder: Path,
        teachers: Sequence[Checkpoint] = (),
        fabric: Fabric | None = None,
    ) -> None:
        self.info, self.config, self.folder = info, config, folder
        self.fabric = fabric or make_fabric(config)
        self.data = TrainingData(*(self.fabric.to_device(part) for part in vars(data).values()))
        self.batches = Batches(self.data, config, self.fabric.global_rank)
        weights = class_weights(data.targets.numpy()) if config.class_weights == "balanced" else None
        self.loss = JointLoss(
            config.targets == "multi_target",
            None if weights is None else self.fabric.to_device(torch.from_numpy(weights)),
            config.label_smoothing,
        )
        if config.processes > 1:
            with_synced_norms(learner, self.fabric.device.type)
        self.learner = cast(Learner, self.fabric.to_device(learner.to(memory_format=torch.channels_last)))
        self.teachers = [self._teacher(teacher) for teacher in teachers]
        self.teacher_prints = [teacher.fingerprint() for teacher in teachers]
        self.average = AveragedModel(self.learner, multi_avg_fn=ema(config.ema), use_buffers=True)
        self.optimizer = make_optimizer(self.learner, config)
        self.schedule = make_schedule(self.optimizer, config, self.batches.steps)
        # The optimizer stays our own name for it: Fabric's wrapper is for stepping only.
        self.stepped, self.stepper = self.fabric.setup(self._compiled(self.learner), self.optimizer)
        self.next_epoch = self.next_step = 0
        self.loss_sum = 0.0  # of the steps done in the epoch under way
        self.text_print = _text_print(learner)
        self.results: list[EpochResult] = []
        self.channels = 1 if _one_channel_is_enough(data, info) else 3
        self.mean = self.fabric.to_device(torch.tensor(info.mean[: self.channels]).view(1, -1, 1, 1))
        self.std = self.fabric.to_device(torch.tensor(info.std[: self.channels]).view(1, -1, 1, 1))

    @property
    def resume_file(self) -> Path:
        """Where the latest state lies."""
        return self.folder / "last.pt"

    @property
    def best(self) -> EpochResult:
        """The best epoch so far, the later of equals."""
        return max(self.results, key=lambda result: (result.accuracy, result.epoch))

    @property
    def done(self) -> bool:
        """Whether all epochs are over, or enough have brought nothing better."""
        if self.next_epoch >= self.config.epochs:
            return True
        patience = self.config.early_stop
        return bool(patience and self.results and self.next_epoch - 1 - self.best.epoch >= patience)

    def resume(self) -> bool:
        """Go on from the folder's resume point, if it has one.

        Raises:
            CheckpointError: The resume point is damaged, incomplete or was made with other settings.
        """
        if not self.resume_file.is_file():
            return False
        try:
            state = torch.load(self.resume_file, weights_only=True, map_location="cpu")
            made_with = json.loads(state["configuration"])
        except Exception as error:  # torch raises half a dozen unrelated types for damaged files
            raise self._not_resumable(error) from error
        if made_with != json.loads(self._configuration()):
            raise CheckpointError(
                f"{self.resume_file} belongs to a run with other settings; use the same ones or another folder"
            )
        try:
            self._restore(state)
        except Exception as error:  # load_state_dict of four classes, each with its own idea of what to raise
            raise self._not_resumable(error) from error
        return True

    def _not_resumable(self, error: Exception) -> CheckpointError:
        return CheckpointError(
            f"{self.resume_file} cannot be resumed from: {error!r}; remove it to start anew, or name another folder"
        )

    def _restore(self, state: dict[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.next_epoch, self.next_step, self.loss_sum = state["next_epoch"], state["next_step"], state["loss_sum"]
        self.results = [EpochResult(**result) for result in state["results"]]
        if len(self.results) != self.next_epoch:
            raise ValueError(f"{len(self.results)} results of {self.next_epoch} epochs")

    def run(self, listener: Listener) -> EpochResult:
        """Train to the end; the averaged weights of the best epoch are in `best.safetensors`."""
        while not self.done:
            started = time.perf_counter()
            loss = self._train_epoch(listener)
            self.results.append(self._validate(loss, started))
            self.next_epoch, self.next_step, self.loss_sum = self.next_epoch + 1, 0, 0.0
            if self.fabric.is_global_zero:
                if self.best is self.results[-1]:
                    self.checkpoint().save(self.folder / "best.safetensors")
                self._save_resume_point()
                listener.epoch(self.results[-1])
        return self.best

    def dry_run(self) -> float:
        """One step and one batch of validation, to see that all fits; writes nothing. Returns the loss."""
        self.stepped.train()
        images, targets = next(self.batches.epoch(0))
        loss = self._step(images, targets)
        self._predict(self._averaged(), self.data.valid_images[: self.config.batch])
        return loss.item()

    def checkpoint(self) -> Checkpoint:
        """The averaged model as it is, with what the run knows about the latest epoch."""
        result = self.results[-1]
        metrics = {
            "epoch": result.epoch + 1,
            "validation_accuracy": result.accuracy,
            "validation_mean_class_accuracy": result.mean_class_accuracy,
            "validation_images": len(self.data.valid_labels),
        }
        provenance = {**self.info.provenance, "training": self.config.to_dict(), "torch": torch.__version__}
        if self.teacher_prints:
            provenance["teachers"] = self.teacher_prints
        return Checkpoint(self._averaged(), self.info).with_info(metrics=metrics, provenance=provenance)

    def _averaged(self) -> FERFormer:
        return cast(Learner, self.average.module).settled()

    def _train_epoch(self, listener: Listener) -> float:
        self.stepped.train()
        total = torch.tensor(self.loss_sum, dtype=torch.float64, device=self.fabric.device)
        every = 1 if self.fabric.device.type == "cpu" else REPORT_EVERY  # reading the loss waits for the device
        saved = time.monotonic()
        steps = self.batches.steps
        for step, (images, targets) in enumerate(self.batches.epoch(self.next_epoch, self.next_step), self.next_step):
            total += self._step(images, targets)
            done = step + 1
            if not self.fabric.is_global_zero:
                continue
            if done % every == 0 or done == steps:
                listener.batch(self.next_epoch, done, steps, total.item() / done)
            if time.monotonic() - saved >= 60 * self.config.save_minutes and done < steps:
                self.next_step, self.loss_sum = done, total.item()
                self._save_resume_point()
                saved = time.monotonic()
        mean = cast(Tensor, self.fabric.all_reduce(total / steps, reduce_op="mean"))
        return mean.item()

    def _step(self, images: Tensor, targets: Tensor) -> Tensor:
        """Learn from one batch: images (n, C, 112, 112) in [0, 1], targets (n, classes). Returns the loss."""
        images = self._normalise(images)
        loss = self.loss(Output(*self.stepped(images)), self._taught(images, targets))
        self.stepper.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        if self.config.clip:
            self.fabric.clip_gradients(self.stepped, self.stepper, max_norm=self.config.clip, error_if_nonfinite=False)
        self.stepper.step()
        self.schedule.step()
        self.average.update_parameters(self.learner)
        return loss.detach()

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
        if self.config.targets == "multi_target":
            raise ConfigError("teachers give distributions, which targets multi_target are not; use crossentropy")
        model = teacher.model.to(memory_format=torch.channels_last).eval().requires_grad_(False)
        return self._compiled(self.fabric.to_device(model))

    def _compiled(self, model: nn.Module) -> nn.Module:
        return cast(nn.Module, torch.compile(model)) if self.config.compile else model

    @torch.no_grad()
    def _validate(self, loss: float, started: float) -> EpochResult:
        """Every process counts its share of the validation images; the counts are summed."""
        mine = slice(self.fabric.global_rank, None, self.config.processes)
        labels = self.data.valid_labels[mine]
        output = self._predict(self._averaged(), self.data.valid_images[mine])
        decided = decide(output.label_logits, output.text_logits, self.info.decision)
        classes = self.info.config.classes
        scores = (output.label_logits, output.text_logits, decided)
        right = [None if one is None else self._counts(labels[one.argmax(dim=1) == labels], classes) for one in scores]
        present = self._counts(labels, classes)
        of_label, of_text, of_both = (None if one is None else _percent(one.sum(), present.sum()) for one in right)
        assert of_label is not None and of_both is not None and right[2] is not None
        recalls = (right[2] / present)[present > 0]
        return EpochResult(
            epoch=self.next_epoch,
            loss=round(loss, 5),
            label_accuracy=of_label,
            text_accuracy=of_text,
            accuracy=of_both,
            mean_class_accuracy=round(100 * recalls.mean().item(), 3),
            seconds=round(time.perf_counter() - started, 1),
        )

    def _counts(self, labels: Tensor, classes: int) -> Tensor:
        """How often each class occurs, over all processes, (classes,)."""
        counts = torch.bincount(labels, minlength=classes).double()
        return cast(Tensor, self.fabric.all_reduce(counts, reduce_op="sum"))

    @torch.no_grad()
    def _predict(self, model: FERFormer, images: Tensor) -> Output:
        parts = [
            Output(*model(self._normalise(resize(part.float() / 255, IMAGE_SIZE))))
            for part in images.split(self.config.batch)
        ]
        text = [part.text_logits for part in parts if part.text_logits is not None]
        return Output(torch.cat([part.label_logits for part in parts]), torch.cat(text) if text else None)

    def _normalise(self, images: Tensor) -> Tensor:
        images = images.expand(-1, self.channels, -1, -1)
        return ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    @cached_property
    def _data_print(self) -> str:
        return self.data.fingerprint()  # reads all images, which a dry run can do without

    def _configuration(self) -> str:
        """What two runs must share for one to go on from the other's resume point."""
        return json.dumps(
            {
                "format": RESUME_FORMAT,
                "training": self.config.to_dict(),
                "model": self.info.config.to_dict(),
                "labels": self.info.labels,
                "normalisation": [self.info.mean, self.info.std],
                "data": self._data_print,
                "start": self.info.provenance,
                "text": [self.info.text_source, self.info.templates, self.text_print],
                "teachers": self.teacher_prints,
            }
        )

    def _save_resume_point(self) -> None:
        state: dict[str, Any] = {
            "configuration": self._configuration(),
            "learner": self.learner.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "next_epoch": self.next_epoch,
            "next_step": self.next_step,
            "loss_sum": self.loss_sum,
            "results": [vars(result) for result in self.results],
        }
        with atomic_path(self.resume_file) as temporary:
            torch.save(state, temporary)


def _one_channel_is_enough(data: TrainingData, info: CheckpointInfo) -> bool:
    """Whether a model sees the same in one channel of its images as in three.

    A grey stem is spared the three equal channels of grey images, if they are normalised alike: statistics that come
    from colour images, with the weights that a run starts from, differ.
    """
    grey = data.images.shape[1] == data.valid_images.shape[1] == 1
    return info.config.stem.color == "grey" and grey and len(set(info.mean)) == len(set(info.std)) == 1


def _text_print(learner: Learner) -> str | None:
    """SHA-256 of the text features that a run starts with; None without a text head."""
    head = learner.model.text_head
    return None if head is None else sha256(head.text_features.detach().float().cpu().numpy().tobytes())


def make_fabric(config: TrainingConfig) -> Fabric:
    """The devices to train on, launched.

    Raises:
        ConfigError: Fabric does not know the accelerator, or this machine has not enough of it.
    """
    precision: Literal["bf16-mixed", "32-true"] = "bf16-mixed" if config.amp else "32-true"
    try:
        fabric = Fabric(
            accelerator=config.accelerator,
            devices=config.devices,
            num_nodes=config.nodes,
            strategy="ddp" if config.processes > 1 else "auto",
            precision=precision,
        )
        fabric.launch()
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"accelerator {config.accelerator!r} cannot be used: {error} Try: auto") from error
    if config.processes > 1:
        atexit.register(_leave_process_group)
    return fabric


def _leave_process_group() -> None:
    # Gloo's threads, which Fabric leaves running, may otherwise drop a tensor while the interpreter goes down, and
    # abort the process after its work is done (pytorch pull request 179291).
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _percent(part: Tensor, whole: Tensor) -> float:
    return round(100 * (part / whole).item(), 3)
