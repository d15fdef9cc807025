"""What an app holds: frames in, expressions out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from fer_edge.boxes import AnyBox, AnyBoxes, Region, numbers_of, refuse_mistakes, region_of
from fer_edge.bundle import Bundle, EngineEntry, Tuning
from fer_edge.crop import check_color, check_frame, crop_region
from fer_edge.engines.base import Images, Prediction, Runner, RunOptions
from fer_edge.errors import ConfigError, CopyError, EngineError, FacesError, InputError, shown
from fer_edge.quality import face_warning
from fer_edge.shipped import shipped_bundle as shipped_bundle


@dataclass(frozen=True)
class Expression:
    """What a face shows.

    Attributes:
        label: The most probable expression.
        score: Its probability, 0 to 1. Calibrated for faces that are whole, sharp and at least 24 pixels wide; for
            anything else, a picture without a face for one, it means nothing: see `warning`.
        scores: Probability of every label, in the model's order; they sum to 1.
        warning: Why the label should not be trusted: "face of 10 x 10 pixels; below 24 the label is often wrong", "no
            contrast: there may be no face", and others (`fer_edge.quality` has the limits). Empty where nothing was
            noticed; a picture of something else than a face is not noticed.
    """

    label: str
    score: float
    scores: dict[str, float]
    warning: str = ""

    @property
    def reliable(self) -> bool:
        """Whether there is no warning."""
        return not self.warning

    def __repr__(self) -> str:
        scores = ", ".join(f"{label!r}: {score:.3f}" for label, score in self.scores.items())
        warning = f", warning={self.warning!r}" if self.warning else ""
        return f"Expression(label={self.label!r}, score={self.score:.3f}, scores={{{scores}}}{warning})"


class Recognizer:
    """Recognises expressions in frames.

    Any thread may call it: calls take turns, those of `asyncio.to_thread` too. Recognizers that are to run at the same
    time are opened separately; a process opens its own, since a recognizer cannot be pickled.

    Attributes:
        labels: The model's labels, in the order of `Expression.scores`.
        engine: Name of the engine in use: "openvino".
        tuning: Settings that the bundle was tuned to on machines like this one; None where it was not, or where other
            threads were asked for.
        runner: The engine, for batches of crops: see `fer_edge.engines.base.Runner`.

    >>> with Recognizer.open() as recognizer:
    ...     expression = recognizer.recognize(frame, box=(x, y, width, height))
    """

    def __init__(
        self,
        runner: Runner,
        labels: Sequence[str],
        tuning: Tuning | None = None,
        *,
        engine: str = "",
        name: str = "",
    ) -> None:
        self.runner = runner
        self.labels = tuple(labels)
        self.tuning = tuning
        self.engine = engine
        self._name = name  # of the bundle
        self._batch = runner.max_batch if tuning is None else min(tuning.batch, runner.max_batch)
        self._input = runner.input_buffer()

    @classmethod
    def open(
        cls,
        path: Path | str | None = None,
        engine: str | None = None,
        threads: int | None = None,
        device: int = 0,
        *,
        faces: int = 1,
        allow_host_code: bool = False,
    ) -> Recognizer:
        """Load a bundle and run it once, so that the first frame is as fast as the next.

        Args:
            path: The bundle; the shipped one if not given.
            engine: One of the bundle's engines. If not given, the first of them that runs on this machine; that others
                before it do not is logged as a warning of the logger "fer_edge".
            threads: CPU threads of one inference; if not given, what `fer-edge bench --tune` found best on machines
                like this one, or else the engine's choice.
            device: Which GPU, counted from 0; for engines that have one.
            faces: How many faces a frame may have: batches up to so many are ready before the first frame.
            allow_host_code: Run native code that a version-compatible TensorRT engine brings with it; only for a
                bundle whose origin you trust.

        Raises:
            BundleError: The bundle cannot be read, does not fit this machine, or its labels do not fit its model.
            ConfigError: `threads`, `device` or `faces` is out of range.
            EngineError: The engine is not installed, has no device here or failed; of several engines, none runs.
            NonFiniteError: The model's outputs are NaN or infinite.
        """
        options = RunOptions(threads=threads, device=device, allow_host_code=allow_host_code)
        bundle = Bundle.open(shipped_bundle() if path is None else path)
        most = bundle.manifest.max_batch
        if type(faces) is not int or not 1 <= faces <= most:
            raise ConfigError(
                f"faces are {shown(faces)}; expected a whole number from 1 to {most}, the bundle's largest batch"
            )

        def opened(entry: EngineEntry) -> Recognizer:
            tuning = bundle.tuning(entry.engine, device) if threads is None else None
            tuned, largest = options, faces
            if tuning is not None:
                tuned, largest = replace(options, threads=tuning.threads), min(faces, tuning.batch)
            runner = bundle.warm_runner(entry.engine, tuned, largest=largest)
            return cls(runner, bundle.manifest.labels, tuning, engine=entry.engine, name=bundle.path.name)

        return bundle.first_that_runs(engine, opened)

    def recognize(self, frame: npt.NDArray[np.uint8], box: AnyBox | None = None, *, color: str = "rgb") -> Expression:
        """The expression of one face.

        Args:
            frame: uint8 (H, W, 3).
            box: The face: x, y, width, height in pixels, as a sequence or array. A box that is not square is widened
                to a square about its centre, and what lies beyond the frame is black: a face keeps its shape. None: the
                frame is a face crop. `fer_edge.box_from_corners` converts corners.
            color: Order of the frame's channels: "rgb", the default, or "bgr", as OpenCV has it.

        Raises:
            EngineError: The recognizer is closed, or the engine failed.
            InputError: The frame or box cannot be used, or the box is all but certainly in another form: fractions of
                the frame, corners.
            NonFiniteError: The model's outputs are NaN or infinite.
        """
        self._check_input(frame, color)
        return self._answer(frame, [_region(frame, box)], color)[0]

    def recognize_faces(self, frame: npt.NDArray[np.uint8], boxes: AnyBoxes, *, color: str = "rgb") -> list[Expression]:
        """The expressions of several faces of one frame, in batches as large as was tuned, or as the engine allows.

        Args:
            frame: uint8 (H, W, 3).
            boxes: Boxes as of `recognize`, or an array of shape (N, 4).
            color: Order of the frame's channels: "rgb", the default, or "bgr", as OpenCV has it.

        Raises:
            EngineError: The recognizer is closed, or the engine failed.
            FacesError: Some boxes cannot be used; its `results` hold the expressions of all others.
            InputError: The frame cannot be used, or `boxes` is no sequence.
            NonFiniteError: The model's outputs are NaN or infinite.
        """
        self._check_input(frame, color)
        _check_boxes(boxes)
        regions: dict[int, Region] = {}
        errors: dict[int, InputError] = {}
        for index, box in enumerate(boxes):
            try:
                regions[index] = _region(frame, box)
            except InputError as error:
                errors[index] = error
        answers = self._answer(frame, list(regions.values()), color)
        if not errors:
            return answers
        results: list[Expression | None] = [None] * len(boxes)
        for index, answer in zip(regions, answers, strict=True):
            results[index] = answer
        raise FacesError(_told(errors, len(boxes)), results, errors)

    def preprocess(self, frame: npt.NDArray[np.uint8], boxes: AnyBoxes, *, color: str = "rgb") -> Images:
        """Crops of a frame in the recognizer's own input buffer, (len(boxes), 112, 112, 3); at most `max_batch`.

        The next call of this recognizer, from any thread, writes into the same buffer.

        Args:
            frame: uint8 (H, W, 3).
            boxes: Boxes as of `recognize_faces`.
            color: Order of the frame's channels: "rgb", the default, or "bgr".

        Raises:
            EngineError: The recognizer is closed.
            InputError: The frame or a box cannot be used, `boxes` is no sequence, or there are more boxes than the
                engine takes at once.
        """
        self._check_input(frame, color)
        _check_boxes(boxes)
        if len(boxes) > self.runner.max_batch:
            raise InputError(
                f"{len(boxes)} boxes; this engine takes at most {self.runner.max_batch} at once: "
                "call recognize_faces, which makes batches"
            )
        regions = []
        for index, box in enumerate(boxes):
            try:
                regions.append(_region(frame, box))
            except InputError as error:
                raise InputError(_told({index: error}, len(boxes))) from error
        with self.runner.exclusive():
            self._check_open()
            for place, region in zip(self._input, regions, strict=False):
                crop_region(frame, region, place, color=color)
            return self._input[: len(regions)]

    def postprocess(self, prediction: Prediction) -> list[Expression]:
        """Expressions of a prediction, without warnings: these need the frame."""
        return self._expressions(prediction, [""] * len(prediction.probabilities))

    def _answer(self, frame: npt.NDArray[np.uint8], regions: Sequence[Region], color: str) -> list[Expression]:
        """Crop and run, in batches, while no other thread does."""
        answers: list[Expression] = []
        with self.runner.exclusive():
            try:
                self._check_open()
                for start in range(0, len(regions), self._batch):
                    self._check_open()
                    batch, warnings = regions[start : start + self._batch], []
                    for place, region in zip(self._input, batch, strict=False):
                        crop_region(frame, region, place, color=color)
                        warnings.append(face_warning(region, place))
                    answers += self._expressions(self.runner.run(self._input[: len(batch)]), warnings)
            finally:
                self.runner.settle()
                self._drop_input()
        return answers

    def _expressions(self, prediction: Prediction, warnings: Sequence[str]) -> list[Expression]:
        expressions = []
        for row, warning in zip(prediction.probabilities.tolist(), warnings, strict=True):
            score = max(row)
            label = self.labels[row.index(score)]
            expressions.append(Expression(label, score, dict(zip(self.labels, row, strict=True)), warning))
        return expressions

    def _check_input(self, frame: npt.NDArray[np.uint8], color: str) -> None:
        self._check_open()
        check_frame(frame)
        check_color(color)

    def _check_open(self) -> None:
        if self.runner.is_closed:
            raise EngineError("the recognizer is closed; open the bundle again")

    def close(self) -> None:
        """Release the engine, when the call of another thread has ended. Closing twice is fine.

        From a signal handler in the middle of a call of the same thread, it is released when that call ends.
        """
        self.runner.close()
        self._drop_input()

    def _drop_input(self) -> None:
        """Let go of the input buffer when the engine is released: it is the engine's memory."""
        if self.runner.is_released and len(self._input):
            self._input = self._input[:0].copy()

    def __repr__(self) -> str:
        state = "closed" if self.runner.is_closed else "open"
        on = f" on {self.engine}" if self.engine else ""
        return f"<Recognizer{f' {self._name}' if self._name else ''}{on}, {len(self.labels)} labels, {state}>"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied.

        Raises:
            CopyError: Always.
        """
        raise CopyError(
            "a recognizer holds an engine of this process and cannot be pickled or copied; open it in each process: "
            "Recognizer.open(path)"
        )

    def __enter__(self) -> Recognizer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _region(frame: npt.NDArray[np.uint8], box: AnyBox | None) -> Region:
    height, width = frame.shape[:2]
    if box is None:
        return region_of(None, width, height)
    numbers = numbers_of(box)
    refuse_mistakes(numbers, width, height)
    return region_of(numbers, width, height)


def _check_boxes(boxes: AnyBoxes) -> None:
    """Refuse what is not a list of boxes.

    Raises:
        InputError: It is something else; a single box is named as such.
    """
    expected = "expected a list of boxes (x, y, width, height), or an array of shape (N, 4)"
    if isinstance(boxes, np.ndarray):
        if boxes.size and (boxes.ndim != 2 or boxes.shape[1] != 4):
            wider = boxes.ndim == 2 and boxes.shape[1] > 4
            remedy = "; leave out the columns behind them, such as scores: boxes[:, :4]" if wider else ""
            raise InputError(f"boxes are an array of shape {boxes.shape}; {expected}{remedy}")
        return
    if not isinstance(boxes, Sequence) or isinstance(boxes, (str, bytes, bytearray)):
        raise InputError(f"boxes are of type {type(boxes).__name__}; {expected}")
    if len(boxes) == 4 and all(isinstance(value, (int, float, np.number)) for value in boxes):
        raise InputError(f"boxes {shown(boxes)} are a single box; {expected}: [box]")


def _told(errors: dict[int, InputError], count: int) -> str:
    first, *others = errors
    more = f"; refused too: {', '.join(map(str, others[:10]))}{', ...' if len(others) > 10 else ''}" if others else ""
    return f"box {first} of {count} (counted from 0): {errors[first]}{more}"
