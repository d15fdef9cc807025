"""The training loop: epochs, averaged weights, validation, and a resume point every few minutes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_
from torch.optim.swa_utils import AveragedModel

from fer_edge.data.augment import resize
from fer_edge.data.targets import class_weights
from fer_edge.errors import CheckpointError, FerEdgeError
from fer_edge.model.checkpoint import Checkpoint, CheckpointInfo
from fer_edge.model.config import IMAGE_SIZE
from fer_edge.model.ferformer import FERFormer, Output
from fer_edge.training.batches import Batch, Batches, TrainingData, needs_one_channel
from fer_edge.training.config import TrainingConfig
from fer_edge.training.devices import convert_errors, make_fabric
from fer_edge.training.distillation import Teachers, compile_model
from fer_edge.training.files import RunFiles, differences
from fer_edge.training.finite import StepCheck, nonfinite_error, nonfinite_state
from fer_edge.training.module import JointLoss, TrainingModule, text_features_sha256
from fer_edge.training.optimize import ema, make_optimizer, make_schedule
from fer_edge.training.results import Callback, EpochResult
from fer_edge.training.stop import TrainingStopped
from fer_edge.training.validation import Validation

CHECK_STEPS = 10  # steps between reads of loss and step check on a GPU
RESUME_FORMAT = 4
NONFINITE = 1000  # larger than every signal number
OTHER_PROCESS = "a value of another process"


def _no_signal() -> int:
    return 0


class Trainer:
    """A run in a folder; it can be stopped at any step and resumed by a new Trainer on the same folder.

    With several processes, started by `torchrun` or by Fabric, each makes a Trainer and calls the same methods; only
    the first process writes files.
    """

    def __init__(
        self,
        module: TrainingModule,
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
        weights = class_weights(data.targets.numpy()) if config.class_weights == "balanced" else None
        self.loss = JointLoss(
            config.targets == "multi_target",
            None if weights is None else self.fabric.to_device(torch.from_numpy(weights)),
            config.label_smoothing,
        )
        if config.processes > 1 and self.fabric.device.type != "cpu":  # PyTorch has no synchronised norm for CPUs
            module = cast(TrainingModule, nn.SyncBatchNorm.convert_sync_batchnorm(module))
        self.module = cast(TrainingModule, self.fabric.to_device(module.to(memory_format=torch.channels_last)))
        self.channels = 1 if needs_one_channel(data, info) else 3
        self.mean = self.fabric.to_device(torch.tensor(info.mean[: self.channels]).view(1, -1, 1, 1))
        self.std = self.fabric.to_device(torch.tensor(info.std[: self.channels]).view(1, -1, 1, 1))
        self.teachers = Teachers(teachers, info, config, self.fabric)
        self.batches = Batches(self.data, config, self.fabric.global_rank)
        self.average = AveragedModel(self.module, multi_avg_fn=ema(config.ema), use_buffers=True)
        self.optimizer = make_optimizer(self.module, config)
        self.schedule = make_schedule(self.optimizer, config, self.batches.steps)
        # Fabric's wrappers are for forward, backward and step only; everything else uses module and optimizer.
        self._forward, self._stepper = self.fabric.setup(compile_model(self.module, config), self.optimizer)
        self.next_epoch = self.next_step = 0
        self.loss_sum = 0.0  # over the finished steps of the current epoch
        self._saved_position: str | None = None  # epoch and step of the resume point in the folder
        # Reading the loss and the step check waits for the device.
        self.check_every = 1 if self.fabric.device.type == "cpu" else CHECK_STEPS
        self._step_check = StepCheck(self.module, self.optimizer, self.fabric.device)
        self._stop_signal: Callable[[], int] = _no_signal
        self._text_sha256 = text_features_sha256(module)
        self.results: list[EpochResult] = []
        self.validation = Validation(self.fabric, self.data, info, config, self._normalise)

    @property
    def best(self) -> EpochResult:
        """Result of the best epoch so far; the later of equal ones."""
        return max(self.results, key=lambda result: (result.accuracy, result.epoch))

    @property
    def done(self) -> bool:
        """True if all epochs are done, or early stopping applies."""
        if self.next_epoch >= self.config.epochs:
            return True
        patience = self.config.early_stop
        return bool(patience and self.results and self.next_epoch - 1 - self.best.epoch >= patience)

    def resume(self) -> bool:
        """Continue from the folder's resume point, if there is one.

        Returns:
            Whether there is a resume point.

        Raises:
            CheckpointError: A damaged resume point, one of a run with other settings, or a best checkpoint that is
                missing or was not saved with it.
        """
        if not self.files.last.is_file():
            return False
        state = self.files.load()
        here, saved = (json.loads(text) for text in (self._configuration(), state["configuration"]))
        if here != saved:
            raise CheckpointError(
                f"{self.files.last} belongs to a run with other settings: {differences(here, saved)}; "
                "use the same ones or another folder"
            )
        try:
            self._restore(state)
        except Exception as error:  # load_state_dict of four classes, each with other exceptions
            raise self.files.resume_error(error) from error
        if self.fabric.is_global_zero:
            self.files.check_pair(state)
        self._saved_position = self._position()
        return True

    def _restore(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.next_epoch, self.next_step, self.loss_sum = state["next_epoch"], state["next_step"], state["loss_sum"]
        self.results = [EpochResult(**result) for result in state["results"]]
        if len(self.results) != self.next_epoch:
            raise ValueError(f"{len(self.results)} results of {self.next_epoch} epochs")
        answers = state.get("answers")
        if answers is not None:
            if answers.shape != self.data.targets.shape:
                raise ValueError(f"the teachers' predictions have the shape {tuple(answers.shape)}")
            self.batches.answers = answers.to(self.fabric.device)

    def run(self, callback: Callback, stop_signal: Callable[[], int] = _no_signal) -> EpochResult:
        """Train to the end; `best.safetensors` has the averaged weights of the best epoch.

        Args:
            callback: Receiver of progress, in the first process.
            stop_signal: Function that returns the number of a signal that stops the run, or 0; see `StopSignals`.

        Raises:
            TrainingStopped: A stop signal; the resume point of the last step is written.
            NonFiniteError: NaN or infinity in loss, gradients, weights or validation logits; they are not written.
            FerEdgeError: A file that cannot be written, too little memory, or a failure of torch.compile.
        """
        self._stop_signal = stop_signal
        with convert_errors(self.config):
            if not self.done and self._store_answers() and self.fabric.is_global_zero:
                self._save()  # a run that is stopped soon does not repeat the predictions
            while not self.done:
                started = time.perf_counter()
                loss = self._train_epoch(callback)
                self._check_state()
                self._end_epoch(self._validate(loss, started, callback), callback)
        return self.best

    def _end_epoch(self, result: EpochResult, callback: Callback) -> None:
        self.results.append(result)
        self.next_epoch, self.next_step, self.loss_sum = self.next_epoch + 1, 0, 0.0
        if self.fabric.is_global_zero:
            self._save(self.checkpoint() if self.best is result else None)
            callback.on_epoch(result)

    def dry_run(self) -> float:
        """Run one step and one batch of validation without writing files, and return the loss.

        Raises:
            NonFiniteError: NaN or infinity in loss, gradients or weights.
            FerEdgeError: Too little memory, or a failure of torch.compile.
        """
        with convert_errors(self.config):
            self._store_answers()
            self._forward.train()
            loss = self._step(next(self.batches.epoch(0)))
            self._check_step(1)
            self.validation.predict(self._average_model(), self.data.valid_images[: self.config.batch])
            return loss.item()

    def _store_answers(self) -> bool:
        """Let teachers of stored images predict all of them: minutes, so after the checks of a resumed run.

        Returns:
            Whether they have; False without such teachers, or if the resume point has their predictions.
        """

        def check_stop() -> None:
            if signal := self._max_over_processes(self._stop_signal()):
                raise TrainingStopped(f"stopped before the first step; {self.resume_point()}", signal)

        if self.batches.answers is None:
            self.batches.answers = self.teachers.stored_answers(
                self.data.images,
                lambda images: self._normalise(resize(images, IMAGE_SIZE)),
                self.config.batch,
                check_stop,
            )
            return self.batches.answers is not None
        return False

    def checkpoint(self) -> Checkpoint:
        """Return the averaged model with the metrics of the latest epoch."""
        result = self.results[-1]
        metrics = {
            "epoch": result.epoch + 1,
            "validation_accuracy": result.accuracy,
            "validation_mean_class_accuracy": result.mean_class_accuracy,
            "validation_images": len(self.data.valid_labels),
        }
        provenance = {**self.info.provenance, "training": asdict(self.config), "torch": torch.__version__}
        if self.teachers.sha256:
            provenance["teachers"] = self.teachers.sha256
        return Checkpoint(self._average_model(), self.info).with_info(metrics=metrics, provenance=provenance)

    def _average_model(self) -> FERFormer:
        return cast(TrainingModule, self.average.module).inference_model()

    def _train_epoch(self, callback: Callback) -> float:
        self._forward.train()
        total = torch.tensor(self.loss_sum, dtype=torch.float64, device=self.fabric.device)
        saved = time.monotonic()
        steps = self.batches.steps
        for step, batch in enumerate(self.batches.epoch(self.next_epoch, self.next_step), self.next_step):
            total += self._step(batch, step + 1)
            done = step + 1
            due = done % self.check_every == 0 or done == steps
            if not due and (self.config.processes > 1 or not self._stop_signal()):
                continue
            signal = self._check_step(done)
            if self.fabric.is_global_zero:
                callback.on_batch(self.next_epoch, done, steps, total.item() / done)
                if time.monotonic() - saved >= 60 * self.config.save_minutes and done < steps:
                    self._save_inside_epoch(done, total.item())
                    saved = time.monotonic()
            if signal:
                self._stop(done, self._mean(total), signal)
        self.next_step, self.loss_sum = steps, self._mean(total)
        return self.loss_sum / steps

    def _step(self, batch: Batch, number: int = 1) -> Tensor:
        """Train on one batch, and return its loss.

        Args:
            batch: This process's part of a batch.
            number: Number of the step in its epoch, counted from 1.
        """
        images = self._normalise(batch.images)
        clean = images if batch.clean is batch.images else self._normalise(batch.clean)
        loss = self.loss(Output(*self._forward(images)), self.teachers.blend(clean, batch.targets))
        self._stepper.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        norm = self._step_check.gradient_norm()
        if self.config.clip:
            clip_grads_with_norm_(self.module.parameters(), self.config.clip, norm)
        self._stepper.step()
        self.schedule.step()
        self.average.update_parameters(self.module)
        self._step_check.record(number, loss, norm)
        return loss.detach()

    def _check_step(self, done: int) -> int:
        """Check that the values of all steps so far are finite in all processes.

        Returns:
            Number of a stop signal that any of the processes received; 0 for none.
        """
        fault = self._step_check.fault()
        number = self._max_over_processes(self._stop_signal() if fault is None else NONFINITE)
        if number == NONFINITE:
            value, step = fault or (OTHER_PROCESS, done)
            raise self._nonfinite_error(value, step)
        return number

    def _check_state(self) -> None:
        value = nonfinite_state(self.module, self.average, self.optimizer)
        if self._max_over_processes(0 if value is None else 1):
            raise self._nonfinite_error(value or OTHER_PROCESS, self.next_step)

    def _nonfinite_error(self, value: str, step: int) -> FerEdgeError:
        resume_point = None if self._saved_position is None else self.resume_point()
        return nonfinite_error(value, self._position(step), self.config.clip, resume_point)

    def resume_point(self) -> str:
        """Describe the resume point in the folder, for messages."""
        if self._saved_position is None:
            return "no resume point was written yet"
        return f"{self.files.last} has the state of {self._saved_position}"

    def _position(self, step: int | None = None) -> str:
        """Describe a step of the current epoch; the last finished step by default."""
        epoch = self.next_epoch
        if step is None and not epoch and not self.next_step:
            return "the start"
        if step is None:
            epoch, step = (epoch - 1, self.batches.steps) if not self.next_step else (epoch, self.next_step)
        return f"epoch {epoch + 1} at step {step} of {self.batches.steps}"

    def _max_over_processes(self, number: int) -> int:
        if self.config.processes == 1:
            return number
        largest = torch.tensor(number, device=self.fabric.device)
        torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX)
        return int(largest)

    def _mean(self, value: Tensor) -> float:
        """Return the mean of a number over all processes."""
        return cast(Tensor, self.fabric.all_reduce(value, reduce_op="mean")).item()

    def _stop(self, done: int, loss_sum: float, signal: int) -> None:
        """Write the resume point and stop the run."""
        self.next_step, self.loss_sum = done, loss_sum
        self._check_state()
        if self.fabric.is_global_zero:
            self._save()
        self.fabric.barrier()  # a launcher ends all processes when one has ended
        raise TrainingStopped(f"stopped in {self._position()}; run the same command to continue", signal)

    def _save_inside_epoch(self, done: int, loss_sum: float) -> None:
        """Write a resume point; with several processes, values that are not finite are reported at the epoch's end."""
        self.next_step, self.loss_sum = done, loss_sum
        if self.config.processes == 1:
            self._check_state()
        elif nonfinite_state(self.module, self.average, self.optimizer) is not None:
            return
        self._save()

    def _validate(self, loss: float, started: float, callback: Callback) -> EpochResult:
        def after_batch(done: int, total: int) -> None:
            if self.fabric.is_global_zero:
                callback.on_validation(self.next_epoch, done, total)
            if signal := self._max_over_processes(self._stop_signal()):
                self._stop(self.batches.steps, self.loss_sum, signal)

        if self.config.processes > 1:  # on CPUs, each process averaged the norms of its own part of the batches
            for statistics in self.average.module.buffers():
                torch.distributed.broadcast(statistics, 0)
        scores = self.validation.scores(self._average_model(), after_batch)
        if not scores.finite:
            raise self._nonfinite_error("a logit of the validation images", self.batches.steps)
        return EpochResult(
            epoch=self.next_epoch,
            loss=round(loss, 5),
            label_accuracy=scores.label,
            text_accuracy=scores.text,
            accuracy=scores.combined,
            mean_class_accuracy=scores.mean_class,
            seconds=round(time.perf_counter() - started, 1),
            only_label=scores.only_label,
        )

    def _normalise(self, images: Tensor) -> Tensor:
        images = images.expand(-1, self.channels, -1, -1)
        return ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    @cached_property
    def _data_sha256(self) -> str:
        return self.data.sha256()  # reads all images; a dry run does not need it

    def _configuration(self) -> str:
        """Return everything that has to be equal for a run to resume from another's resume point, as JSON."""
        return json.dumps(
            {
                "format": RESUME_FORMAT,
                "training": asdict(self.config),
                "model": asdict(self.info.config),
                "labels": self.info.labels,
                "normalisation": [self.info.mean, self.info.std],
                "data": self._data_sha256,
                "start": self.info.provenance,
                "text": [self.info.text_source, self.info.templates, self._text_sha256],
                "teachers": self.teachers.sha256,
            }
        )

    def _save(self, best: Checkpoint | None = None) -> None:
        state: dict[str, Any] = {
            "configuration": self._configuration(),
            "module": self.module.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "next_epoch": self.next_epoch,
            "next_step": self.next_step,
            "loss_sum": self.loss_sum,
            "results": [vars(result) for result in self.results],
            "answers": self.batches.answers,
        }
        try:
            self.files.save(state, best)
        except FerEdgeError as error:
            raise FerEdgeError(f"{error}; {self.resume_point()}: free space, and run the same command again") from error
        self._saved_position = self._position()
