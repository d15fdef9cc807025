"""Recognizer: face expressions in camera frames, from an open bundle."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt

from fer_edge.boxes import Box, Region, SupportsArray, check_plausible, find_region, parse_box
from fer_edge.bundle import Bundle, EngineEntry
from fer_edge.circumplex import Circumplex, circumplex
from fer_edge.crop import check_color, check_frame, crop_region
from fer_edge.document import expression_data
from fer_edge.engines.base import Images, Prediction, Runner, RunOptions
from fer_edge.errors import ConfigError, CopyError, EngineError, FacesError, InputError, shown
from fer_edge.faces.face import Face, crop_to_frame
from fer_edge.faces.geometry import Similarity, resample
from fer_edge.quality import MIN_SCORE, FaceQuality, measure_quality
from fer_edge.shipped import shipped_bundle as shipped_bundle
from fer_edge.signing import PublicKey

UNSURE = "unsure"  # shown in place of a label that is not certain
Faces: TypeAlias = Sequence[Box | Face | None] | SupportsArray  # an array has the shape (N, 4)


@dataclass(frozen=True)
class Expression:
    """Expression of one face.

    Attributes:
        label: Label with the highest probability.
        score: Probability of `label`, 0 to 1. It is calibrated for whole, sharp faces that are at least 24 pixels wide
            and is meaningless for other images, such as one without a face: see `warning`.
        scores: Probability by label, in the order of the model's labels; they sum to 1.
        warning: Reasons not to trust the label: "face of 10 x 10 pixels; below 24 the label is often wrong", "no
            contrast: there may be no face" and others (limits: `fer_edge.quality`). Empty without one. An image of
            another object than a face is not detected in a box or crop; `FaceDetector` finds no face in it.
        quality: What was measured on the face and its crop; None for a prediction without frame.
        min_score: Score below which the label is not certain, 0.58 by default. A tracker uses 0.53 or 0.63, so that
            `certain` does not flicker.
    """

    label: str
    score: float
    scores: dict[str, float]
    warning: str = ""
    quality: FaceQuality | None = None
    min_score: float = MIN_SCORE

    @property
    def certain(self) -> bool:
        """True if there is no warning and the score is high enough."""
        return self.score >= self.min_score and not self.warning

    @property
    def display_label(self) -> str:
        """Label to show: `label`, or "unsure" if it is not certain."""
        return self.label if self.certain else UNSURE

    @property
    def circumplex(self) -> Circumplex | None:
        """Valence and arousal, derived from `scores` and not measured; None if a label has no published coordinates."""
        return circumplex(self.scores)

    def to_dict(self) -> dict[str, Any]:
        """Return the expression as in the result document."""
        return expression_data(self)

    def __repr__(self) -> str:
        scores = ", ".join(f"{label!r}: {score:.3f}" for label, score in self.scores.items())
        warning = f", warning={self.warning!r}" if self.warning else ""
        return f"Expression(label={self.label!r}, score={self.score:.3f}, scores={{{scores}}}{warning})"


class Recognizer:
    """Recogniser of face expressions in frames.

    Any thread may call it; calls run one after another, also those of `asyncio.to_thread`. For parallel calls, open one
    recognizer per thread. A recognizer cannot be pickled: open one in each process.

    Attributes:
        labels: Labels of the model, in the order of `Expression.scores`.
        engine: Name of the engine: "openvino".
        runner: Runner of the engine, for batches of crops: see `fer_edge.engines.base.Runner`.

    >>> with Recognizer.open() as recognizer:
    ...     expression = recognizer.recognize(frame, box=(x, y, width, height))
    """

    def __init__(
        self,
        runner: Runner,
        labels: Sequence[str],
        *,
        engine: str = "",
        name: str = "",
    ) -> None:
        self.runner = runner
        self.labels = tuple(labels)
        self.engine = engine
        self._name = name  # of the bundle
        self._input = runner.input_buffer()

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] | Bundle | None = None,
        engine: str | None = None,
        threads: int | None = None,
        device: int = 0,
        *,
        faces: int = 1,
        allow_host_code: bool = False,
        options: RunOptions | None = None,
        signed_by: PublicKey | None = None,
    ) -> Recognizer:
        """Open a bundle and run the model once, so that the first frame takes no longer than the others.

        Args:
            path: Path of the bundle, or an open bundle; None: the shipped bundle. Several recognizers on one bundle
                start faster from `Bundle.open(path, in_memory=True)`, which checks it once.
            engine: Name of one of the bundle's engines; None: the first engine that runs on this machine. The logger
                "fer_edge" warns about engines that were skipped.
            threads: Number of CPU threads of one inference; None: the engine's default. `fer-edge bench --scenario
                scaling` shows the best number for a machine.
            device: Index of the GPU, 0 by default; for engines on a GPU.
            faces: Largest number of faces per frame to prepare for, 1 by default: batches up to this size are
                compiled and run before the first frame.
            allow_host_code: Whether to run native code embedded in a version-compatible TensorRT engine; only for
                bundles from a trusted source. False by default.
            options: All run options at once, including CUDA graphs and the cache folder, in place of `threads`,
                `device` and `allow_host_code`.
            signed_by: Public key that must have signed the bundle, as for `Bundle.open`; None: the origin is not
                checked.

        Raises:
            SignatureError: Signature that is missing, invalid, by another key, or of another file.
            BundleError: Bundle that cannot be read, is not for this machine, or has another number of labels than its
                model.
            ConfigError: `threads`, `device` or `faces` out of range, or also set in `options`; `signed_by` beside an
                open bundle, or a key that cannot be used.
            EngineError: Engine that is not installed, has no device or failed; of several engines, none runs.
            NonFiniteError: NaN or infinity in the model's outputs.
        """
        if options is not None and (threads, device, allow_host_code) != (None, 0, False):
            raise ConfigError("threads, device and allow_host_code are set beside options; set them in RunOptions(...)")
        run_options = options or RunOptions(threads=threads, device=device, allow_host_code=allow_host_code)
        if isinstance(path, Bundle):
            if signed_by is not None:
                raise ConfigError("signed_by is set beside an open bundle; pass it to Bundle.open")
            bundle = path
        else:
            bundle = Bundle.open(shipped_bundle() if path is None else path, signed_by=signed_by)
        max_batch = bundle.manifest.max_batch
        if type(faces) is not int or not 1 <= faces <= max_batch:
            raise ConfigError(
                f"faces is {shown(faces)}; expected a whole number from 1 to {max_batch}, the bundle's largest batch"
            )

        def open_engine(entry: EngineEntry) -> Recognizer:
            runner = bundle.warm_runner(entry.engine, run_options, largest=faces)
            return cls(runner, bundle.manifest.labels, engine=entry.engine, name=bundle.path.name)

        return bundle.use_first_runnable(engine, open_engine)

    def recognize(
        self, frame: npt.NDArray[np.uint8], box: Box | Face | None = None, *, color: str = "rgb"
    ) -> Expression:
        """Return the expression of one face.

        Args:
            frame: uint8 array of shape (H, W, 3).
            box: Face that a `FaceDetector` found in this frame, which is aligned by its eyes and mouth; or face box: x,
                y, width, height in pixels, as a sequence or array. A box that is not square is extended to a square
                about its centre, and pixels beyond the frame are black, so that the face is not stretched. None: the
                frame is a face crop. `fer_edge.box_from_corners` converts corners.
            color: Channel order of the frame: "rgb", the default, or "bgr", the order of OpenCV.

        Raises:
            EngineError: The recognizer is closed, or the engine failed.
            InputError: Invalid frame or box, or a box that is almost certainly in another form: fractions of the
                frame, or corners.
            NonFiniteError: NaN or infinity in the model's outputs.
        """
        self._check_input(frame, color)
        return self._run(frame, [_plan_crop(frame, box)], color)[0]

    def recognize_faces(self, frame: npt.NDArray[np.uint8], boxes: Faces, *, color: str = "rgb") -> list[Expression]:
        """Return the expressions of several faces of one frame.

        More boxes than the largest batch of the engine run in several batches.

        Args:
            frame: uint8 array of shape (H, W, 3).
            boxes: Faces or face boxes as for `recognize`, or an array of shape (N, 4).
            color: Channel order of the frame: "rgb", the default, or "bgr", the order of OpenCV.

        Raises:
            EngineError: The recognizer is closed, or the engine failed.
            FacesError: Invalid boxes; its `results` contain the expressions of the others.
            InputError: Invalid frame, or `boxes` that is not a sequence.
            NonFiniteError: NaN or infinity in the model's outputs.
        """
        self._check_input(frame, color)
        boxes = _as_list(boxes)
        crops: dict[int, _Crop] = {}
        errors: dict[int, InputError] = {}
        for index, box in enumerate(boxes):
            try:
                crops[index] = _plan_crop(frame, box)
            except InputError as error:
                errors[index] = error
        expressions = self._run(frame, list(crops.values()), color)
        if not errors:
            return expressions
        results: list[Expression | None] = [None] * len(boxes)
        for index, expression in zip(crops, expressions, strict=True):
            results[index] = expression
        raise FacesError(_describe_errors(errors, len(boxes)), results, errors)

    def preprocess(self, frame: npt.NDArray[np.uint8], boxes: Faces, *, color: str = "rgb") -> Images:
        """Crop faces into the recognizer's input buffer.

        The next call of this recognizer, from any thread, overwrites the buffer.

        Args:
            frame: uint8 array of shape (H, W, 3).
            boxes: Face boxes as for `recognize_faces`; at most `runner.max_batch`.
            color: Channel order of the frame: "rgb", the default, or "bgr".

        Returns:
            Crops, uint8 RGB, (len(boxes), 112, 112, 3).

        Raises:
            EngineError: The recognizer is closed.
            InputError: Invalid frame or box, `boxes` that is not a sequence, or more boxes than the largest batch.
        """
        self._check_input(frame, color)
        boxes = _as_list(boxes)
        if len(boxes) > self.runner.max_batch:
            raise InputError(
                f"{len(boxes)} boxes; the largest batch of this engine is {self.runner.max_batch}: "
                "call recognize_faces, which splits boxes into batches"
            )
        crops = []
        for index, box in enumerate(boxes):
            try:
                crops.append(_plan_crop(frame, box))
            except InputError as error:
                raise InputError(_describe_errors({index: error}, len(boxes))) from error
        with self.runner.exclusive():
            self._check_open()
            for image, crop in zip(self._input, crops, strict=False):
                _write_crop(frame, crop, image, color)
            return self._input[: len(crops)]

    def postprocess(self, prediction: Prediction) -> list[Expression]:
        """Convert a prediction to expressions; without quality and warnings, which need the frame."""
        return self._expressions(prediction, [None] * len(prediction.probabilities))

    def _run(self, frame: npt.NDArray[np.uint8], crops: Sequence[_Crop], color: str) -> list[Expression]:
        """Crop and run faces in batches, while holding the runner's lock."""
        expressions: list[Expression] = []
        largest = self.runner.max_batch
        with self.runner.exclusive():
            try:
                self._check_open()
                for start in range(0, len(crops), largest):
                    self._check_open()
                    batch, qualities = crops[start : start + largest], []
                    for image, crop in zip(self._input, batch, strict=False):
                        _write_crop(frame, crop, image, color)
                        qualities.append(measure_quality(crop.region, image, crop.face))
                    expressions += self._expressions(self.runner.run(self._input[: len(batch)]), qualities)
            finally:
                self.runner.settle()
                self._drop_input()
        return expressions

    def _expressions(self, prediction: Prediction, qualities: Sequence[FaceQuality | None]) -> list[Expression]:
        expressions = []
        for row, quality in zip(prediction.probabilities.tolist(), qualities, strict=True):
            score = max(row)
            label, warning = self.labels[row.index(score)], "" if quality is None else quality.warning
            expressions.append(Expression(label, score, dict(zip(self.labels, row, strict=True)), warning, quality))
        return expressions

    def _check_input(self, frame: npt.NDArray[np.uint8], color: str) -> None:
        self._check_open()
        check_frame(frame)
        check_color(color)

    def _check_open(self) -> None:
        if self.runner.is_closed:
            raise EngineError("the recognizer is closed; open the bundle again")

    def close(self) -> None:
        """Release the engine after the call of another thread has returned; may be called several times.

        If a signal handler calls this during a call of the same thread, the engine is released at the end of that call.
        """
        self.runner.close()
        self._drop_input()

    def _drop_input(self) -> None:
        """Drop the input buffer after the engine is released, since its memory belongs to the engine."""
        if self.runner.is_released and len(self._input):
            self._input = self._input[:0].copy()

    def __repr__(self) -> str:
        state = "closed" if self.runner.is_closed else "open"
        engine = f" on {self.engine}" if self.engine else ""
        return f"<Recognizer{f' {self._name}' if self._name else ''}{engine}, {len(self.labels)} labels, {state}>"

    def __reduce__(self) -> NoReturn:
        """Refuse pickling and copying.

        Raises:
            CopyError: Always.
        """
        raise CopyError(
            "a recognizer holds an engine of this process and cannot be pickled or copied; open it in each process: "
            "Recognizer.open(path)"
        )

    def __enter__(self) -> Recognizer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Crop(NamedTuple):
    """Crop of a face."""

    region: Region  # upright square that the face box selects
    face: Face | None = None  # None: a box or crop of the caller
    to_frame: Similarity | None = None  # from the aligned crop to the frame; None: the crop is the region


def _plan_crop(frame: npt.NDArray[np.uint8], box: Box | Face | None) -> _Crop:
    height, width = frame.shape[:2]
    if isinstance(box, Face):
        return _Crop(find_region(box.box, width, height), box, crop_to_frame(box))
    if box is None:
        return _Crop(find_region(None, width, height))
    parsed = parse_box(box)
    check_plausible(parsed, width, height)
    return _Crop(find_region(parsed, width, height))


def _write_crop(frame: npt.NDArray[np.uint8], crop: _Crop, out: Images, color: str) -> None:
    if crop.to_frame is None:
        crop_region(frame, crop.region, out, color=color)
    else:
        resample(frame, crop.to_frame, out, color=color)


def _as_list(boxes: Faces) -> Sequence[Box | Face | None]:
    """Convert faces or face boxes to a sequence.

    Raises:
        InputError: Another object, or a single box.
    """
    expected = "expected a list of boxes (x, y, width, height) or faces, or an array of shape (N, 4)"
    if hasattr(boxes, "__array__"):
        try:
            array = np.asarray(boxes)
        except (TypeError, ValueError, RuntimeError) as error:  # a tensor on a GPU
            raise InputError(
                f"boxes of type {type(boxes).__name__} cannot be converted to an array: {error}; {expected}"
            ) from error
        if array.size and (array.ndim != 2 or array.shape[1] != 4):
            wide = array.ndim == 2 and array.shape[1] > 4
            remedy = "; omit scores and other columns after the fourth: boxes[:, :4]" if wide else ""
            raise InputError(f"boxes are an array of shape {array.shape}; {expected}{remedy}")
        return list(array)
    if not isinstance(boxes, Sequence) or isinstance(boxes, (str, bytes, bytearray)):
        raise InputError(f"boxes are of type {type(boxes).__name__}; {expected}")
    if len(boxes) == 4 and all(isinstance(value, (int, float, np.number)) for value in boxes):
        raise InputError(f"boxes {shown(boxes)} are a single box; {expected}: [box]")
    return boxes


def _describe_errors(errors: dict[int, InputError], count: int) -> str:
    first, *others = errors
    more = f"; refused too: {', '.join(map(str, others[:10]))}{', ...' if len(others) > 10 else ''}" if others else ""
    return f"box {first} of {count} (counted from 0): {errors[first]}{more}"
