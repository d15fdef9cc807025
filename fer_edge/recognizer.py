"""What an app holds: frames in, expressions out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from fer_edge.bundle import Bundle, Tuning
from fer_edge.crop import Box, crop_and_resize
from fer_edge.engines.base import Images, Prediction, Runner, RunOptions
from fer_edge.errors import ConfigError, EngineError, InputError, shown
from fer_edge.shipped import shipped_bundle as shipped_bundle


@dataclass(frozen=True)
class Expression:
    """What a face shows."""

    label: str
    score: float  # probability of the label
    scores: dict[str, float]  # probability of every label, in the model's order


class Recognizer:
    """Recognises expressions in frames. Not thread-safe: one recognizer per thread.

    >>> with Recognizer.open() as recognizer:
    ...     expression = recognizer.recognize(frame, box=(x, y, width, height))
    """

    def __init__(self, runner: Runner, labels: Sequence[str], tuning: Tuning | None = None) -> None:
        self.runner = runner
        self.labels = tuple(labels)
        self.tuning = tuning  # what the bundle was tuned to on machines like this one, where that is used
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
            engine: One of the bundle's engines; its first if not given.
            threads: CPU threads of one inference; if not given, what `fer-edge bench --tune` found best on machines
                like this one, or else the engine's choice.
            device: Which GPU, counted from 0; for engines that have one.
            faces: How many faces a frame may have: batches up to so many are ready before the first frame.
            allow_host_code: Run native code that a version-compatible TensorRT engine brings with it; only for a
                bundle whose origin you trust.

        Raises:
            BundleError: The bundle cannot be read, does not fit this machine, or its labels do not fit its model.
            ConfigError: `threads`, `device` or `faces` is out of range.
            EngineError: The engine is not installed, has no device here or failed.
        """
        options = RunOptions(threads=threads, device=device, allow_host_code=allow_host_code)
        bundle = Bundle.open(shipped_bundle() if path is None else path)
        most = bundle.manifest.max_batch
        if type(faces) is not int or not 1 <= faces <= most:
            raise ConfigError(
                f"faces are {shown(faces)}; expected a whole number from 1 to {most}, the bundle's largest batch"
            )
        tuning = bundle.tuning(engine, device) if threads is None else None
        if tuning is not None:
            options, faces = replace(options, threads=tuning.threads), min(faces, tuning.batch)
        return cls(bundle.warm_runner(engine, options, largest=faces), bundle.manifest.labels, tuning)

    def recognize(self, frame: npt.NDArray[np.uint8], box: Box | None = None) -> Expression:
        """The expression of one face.

        Args:
            frame: uint8 RGB (H, W, 3).
            box: The face: x, y, width, height in pixels. None: the frame is a face crop.

        Raises:
            EngineError: The recognizer is closed, or the engine failed.
            InputError: The frame or box cannot be used.
        """
        return self.recognize_faces(frame, [box])[0]

    def recognize_faces(self, frame: npt.NDArray[np.uint8], boxes: Sequence[Box | None]) -> list[Expression]:
        """The expressions of several faces of one frame, in batches as large as was tuned, or as the engine allows.

        Raises:
            EngineError: The recognizer is closed, or the engine failed.
            InputError: The frame or a box cannot be used, or `boxes` is no sequence.
        """
        self._check_usable(boxes)
        found: list[Expression] = []
        for start in range(0, len(boxes), self._batch):
            images = self._crops(frame, boxes[start : start + self._batch])
            found += self.postprocess(self.runner.infer(images))
        return found

    def preprocess(self, frame: npt.NDArray[np.uint8], boxes: Sequence[Box | None]) -> Images:
        """Crops of a frame in the recognizer's own input buffer, (len(boxes), 112, 112, 3); at most `max_batch`.

        Raises:
            EngineError: The recognizer is closed.
            InputError: The frame or a box cannot be used, `boxes` is no sequence, or there are more boxes than the
                engine takes at once.
        """
        self._check_usable(boxes)
        if len(boxes) > len(self._input):
            raise InputError(
                f"{len(boxes)} boxes; this engine takes at most {len(self._input)} at once: "
                "call recognize_faces, which makes batches"
            )
        return self._crops(frame, boxes)

    def _crops(self, frame: npt.NDArray[np.uint8], boxes: Sequence[Box | None]) -> Images:
        for index, box in enumerate(boxes):
            crop_and_resize(frame, box, out=self._input[index])
        return self._input[: len(boxes)]

    def _check_usable(self, boxes: Sequence[Box | None]) -> None:
        if not len(self._input):
            raise EngineError("the recognizer is closed; open the bundle again")
        try:
            len(boxes[:0])
        except (TypeError, KeyError) as error:
            kind = type(boxes).__name__
            raise InputError(f"boxes are of type {kind}; expected a list of boxes (x, y, width, height)") from error

    def postprocess(self, prediction: Prediction) -> list[Expression]:
        """Expressions of a prediction."""
        expressions = []
        for row in prediction.probabilities.tolist():
            score = max(row)
            label = self.labels[row.index(score)]
            expressions.append(Expression(label, score, dict(zip(self.labels, row, strict=True))))
        return expressions

    def close(self) -> None:
        """Release the engine."""
        self._input = self._input[:0].copy()  # the engine's memory, which goes with it
        self.runner.close()

    def __enter__(self) -> Recognizer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
