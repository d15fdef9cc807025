"""A training run: epochs, averaged weights, validation, and a resume point every few minutes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_
from torch.optim.swa_utils import AveragedModel

from fer_edge.data.targets import class_weights
from fer_edge.errors import CheckpointError, ConfigError, FerEdgeError
from fer_edge.model.checkpoint import Checkpoint, CheckpointInfo
from fer_edge.model.ferformer import FERFormer, Output
from fer_edge.model.heads import decide
from fer_edge.training.batches import Batches, TrainingData, one_channel_is_enough
from fer_edge.training.config import TrainingConfig
from fer_edge.training.devices import make_fabric
from fer_edge.training.failures import explained
from fer_edge.training.files import RunFiles, differences
from fer_edge.training.finite import StepCheck, nonfinite_state, stopped_by
from fer_edge.training.losses import JointLoss
from fer_edge.training.module import TrainingModule, text_print
from fer_edge.training.optimize import ema, make_optimizer, make_schedule
from fer_edge.training.results import EpochResult, Listener
from fer_edge.training.stop import TrainingStopped
from fer_edge.training.sync_norm import with_synced_norms
from fer_edge.training.validation import Validation

REPORT_EVERY = 10  # steps, on a GPU
RESUME_FORMAT = 4
FAULT = 1000  # beyond every signal's number


def _never() -> int:
    return 0


class Trainer:
    """Runs epochs until the configured number; may be stopped at any time and made again on the same folder.

    Several processes, started by `torchrun` or by Fabric, each make one and call the same methods; the first writes.
    """

    def __init__(
        self,
        learner: TrainingModule,
        info: CheckpointInfo,
        config: TrainingConfig,
        data: TrainingData,
        folder: Path,
        teachers: Sequence[Checkpoint] = (),
        fabric: Fabric | None = None,
    ) -> None:
        self.info, self.config = info, config
        self.files = RunFiles(folder)
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
        self.learner = cast(TrainingModule, self.fabric.to_device(learner.to(memory_format=torch.channels_last)))
        self.teachers = [self._teacher(teacher) for teacher in teachers]
        self.teacher_prints = [teacher.fingerprint() for teacher in teachers]
        self.average = AveragedModel(self.learner, multi_avg_fn=ema(config.ema), use_buffers=True)
        self.optimizer = make_optimizer(self.learner, config)
        self.schedule = make_schedule(self.optimizer, config, self.batches.steps)
        # The optimizer stays our own name for it: Fabric's wrapper is for stepping only.
        self.stepped, self.stepper = self.fabric.setup(self._compiled(self.learner), self.optimizer)
        self.next_epoch = self.next_step = 0
        self.loss_sum = 0.0  # of the steps done in the epoch under way
        self.kept: str | None = None  # step of the resume point in the folder, in words
        # Steps between looks at loss and numbers, which wait for the device.
        self.check_every = 1 if self.fabric.device.type == "cpu" else REPORT_EVERY
        self.numbers = StepCheck(self.learner, self.optimizer, self.fabric.device)
        self._asked: Callable[[], int] = _never
        self.text_print = text_print(learner)
        self.results: list[EpochResult] = []
        self.channels = 1 if one_channel_is_enough(data, info) else 3
        self.mean = self.fabric.to_device(torch.tensor(info.mean[: self.channels]).view(1, -1, 1, 1))
        self.std = self.fabric.to_device(torch.tensor(info.std[: self.channels]).view(1, -1, 1, 1))
        self.validation = Validation(self.fabric, self.data, info, config, self._normalise)

    @property
    def resume_file(self) -> Path:
        """Where the latest state lies."""
        return self.files.last

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
            CheckpointError: The resume point is damaged, incomplete or was made with other settings, or the best
                checkpoint beside it is missing or another one.
        """
        if not self.resume_file.is_file():
            return False
        state = self.files.load()
        here, there = (json.loads(text) for text in (self._configuration(), state["configuration"]))
        if here != there:
            raise CheckpointError(
                f"{self.resume_file} belongs to a run with other settings: {differences(here, there)}; "
                "use the same ones or another folder"
            )
        try:
            self._restore(state)
        except Exception as error:  # load_state_dict of four classes, each with its own idea of what to raise
            raise self.files.not_resumable(error) from error
        if self.fabric.is_global_zero:
            self.files.check_pair(state)
        self.kept = self._place()
        return True

    def _restore(self, state: dict[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.next_epoch, self.next_step, self.loss_sum = state["next_epoch"], state["next_step"], state["loss_sum"]
        self.results = [EpochResult(**result) for result in state["results"]]
        if len(self.results) != self.next_epoch:
            raise ValueError(f"{len(self.results)} results of {self.next_epoch} epochs")

    def run(self, listener: Listener, asked: Callable[[], int] = _never) -> EpochResult:
        """Train to the end; the averaged weights of the best epoch are in `best.safetensors`.

        Args:
            listener: Is told of progress, in the first process.
            asked: Tells the number of a signal that asks to stop, 0 for none; see `StopSignals`.

        Raises:
            TrainingStopped: It was asked to; the resume point of the last step is written.
            NonFiniteError: The loss, a gradient, a weight or a validation logit is not finite; nothing of that is
                written.
            FerEdgeError: A file cannot be written, memory ran out or torch.compile failed.
        """
        self._asked = asked
        with explained(self.config):
            while not self.done:
                started = time.perf_counter()
                loss = self._train_epoch(listener)
                self._check_state()
                self._end_epoch(self._validate(loss, started, listener), listener)
        return self.best

    def _end_epoch(self, result: EpochResult, listener: Listener) -> None:
        self.results.append(result)
        self.next_epoch, self.next_step, self.loss_sum = self.next_epoch + 1, 0, 0.0
        if self.fabric.is_global_zero:
            self._save(self.checkpoint() if self.best is result else None)
            listener.epoch(result)

    def dry_run(self) -> float:
        """One step and one batch of validation, to see that all fits; writes nothing. Returns the loss.

        Raises:
            NonFiniteError: The loss, a gradient or a weight is not finite.
            FerEdgeError: Memory ran out or torch.compile failed.
        """
        with explained(self.config):
            self.stepped.train()
            images, targets = next(self.batches.epoch(0))
            loss = self._step(images, targets)
            self._check_step(1)
            self.validation.predict(self._averaged(), self.data.valid_images[: self.config.batch])
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
        return cast(TrainingModule, self.average.module).settled()

    def _train_epoch(self, listener: Listener) -> float:
        self.stepped.train()
        total = torch.tensor(self.loss_sum, dtype=torch.float64, device=self.fabric.device)
        saved = time.monotonic()
        steps = self.batches.steps
        for step, (images, targets) in enumerate(self.batches.epoch(self.next_epoch, self.next_step), self.next_step):
            total += self._step(images, targets, step + 1)
            done = step + 1
            due = done % self.check_every == 0 or done == steps
            if not due and (self.config.processes > 1 or not self._asked()):
                continue
            asked = self._check_step(done)
            if self.fabric.is_global_zero:
                listener.batch(self.next_epoch, done, steps, total.item() / done)
                if time.monotonic() - saved >= 60 * self.config.save_minutes and done < steps:
                    self._save_inside(done, total.item())
                    saved = time.monotonic()
            if asked:
                self._stop(done, self._mean(total), asked)
        self.next_step, self.loss_sum = steps, self._mean(total)
        return self.loss_sum / steps

    def _step(self, images: Tensor, targets: Tensor, number: int = 1) -> Tensor:
        """Learn from one batch: images (n, C, 112, 112) in [0, 1], targets (n, classes). Returns the loss."""
        images = self._normalise(images)
        loss = self.loss(Output(*self.stepped(images)), self._taught(images, targets))
        self.stepper.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        norm = self.numbers.gradient_norm()
        if self.config.clip:
            clip_grads_with_norm_(self.learner.parameters(), self.config.clip, norm)
        self.stepper.step()
        self.schedule.step()
        self.average.update_parameters(self.learner)
        self.numbers.record(number, loss, norm)
        return loss.detach()

    def _check_step(self, done: int) -> int:
        """Stop, in all processes, if a number of the steps so far is not finite in one of them.

        Returns:
            Number of the signal that asks to stop, in whichever process; 0 for none.
        """
        fault = self.numbers.fault()
        agreed = self._agreed(self._asked() if fault is None else FAULT)
        if agreed == FAULT:
            what, step = fault or ("a number of another process", done)
            raise self._not_finite(what, step)
        return agreed

    def _check_state(self) -> None:
        what = nonfinite_state(self.learner, self.average, self.optimizer)
        if self._agreed(0 if what is None else 1):
            raise self._not_finite(what or "a number of another process", self.next_step)

    def _not_finite(self, what: str, step: int) -> FerEdgeError:
        return stopped_by(what, self._place(step), self.config.clip, self.kept and self.kept_words())

    def kept_words(self) -> str:
        """What the folder holds, for messages."""
        if self.kept is None:
            return "no resume point was written yet"
        return f"{self.resume_file} is kept as of {self.kept}"

    def _place(self, step: int | None = None) -> str:
        """A step in words, of the epoch under way; by default the last one that was done."""
        epoch = self.next_epoch
        if step is None:
            epoch, step = (epoch - 1, self.batches.steps) if not self.next_step else (epoch, self.next_step)
        return f"epoch {epoch + 1} at step {step} of {self.batches.steps}"

    def _agreed(self, number: int) -> int:
        """The largest of a number over all processes."""
        if self.config.processes == 1:
            return number
        largest = torch.tensor(number, device=self.fabric.device)
        torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX)
        return int(largest)

    def _mean(self, value: Tensor) -> float:
        """The mean of a number over all processes."""
        return cast(Tensor, self.fabric.all_reduce(value, reduce_op="mean")).item()

    def _stop(self, done: int, loss_sum: float, asked: int) -> None:
        """End here, the resume point written."""
        self.next_step, self.loss_sum = done, loss_sum
        self._check_state()
        if self.fabric.is_global_zero:
            self._save()
        self.fabric.barrier()  # a launcher ends all processes once one has ended
        raise TrainingStopped(f"stopped in {self._place()}; the same command goes on from there", asked)

    def _save_inside(self, done: int, loss_sum: float) -> None:
        """Save in mid-epoch; what is not finite is left to the check of all processes at the end of the epoch."""
        self.next_step, self.loss_sum = done, loss_sum
        if self.config.processes == 1:
            self._check_state()
        elif nonfinite_state(self.learner, self.average, self.optimizer) is not None:
            return
        self._save()

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

    def _validate(self, loss: float, started: float, listener: Listener) -> EpochResult:
        def each(done: int, total: int) -> None:
            if self.fabric.is_global_zero:
                listener.validating(self.next_epoch, done, total)
            if asked := self._agreed(self._asked()):
                self._stop(self.batches.steps, self.loss_sum, asked)

        scores = self.validation.scores(self._averaged(), each)
        if not scores.finite:
            raise self._not_finite("a logit of the validation images", self.batches.steps)
        return EpochResult(
            epoch=self.next_epoch,
            loss=round(loss, 5),
            label_accuracy=scores.label,
            text_accuracy=scores.text,
            accuracy=scores.decided,
            mean_class_accuracy=scores.mean_of_classes,
            seconds=round(time.perf_counter() - started, 1),
            only_label=scores.only_label,
        )

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

    def _save(self, best: Checkpoint | None = None) -> None:
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
        try:
            self.files.save(state, best)
        except FerEdgeError as error:
            raise FerEdgeError(f"{error}; {self.kept_words()}: make room, and run the same command again") from error
        self.kept = self._place()
