"""Recognizer: face expressions in camera frames, from an open bundle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt

from fer_edge.boxes import Box, Region, SupportsArray, check_plausible, find_region, parse_box
from fer_edge.crop import check_color, check_frame, crop_region
from fer_edge.engines.base import Images, Prediction, Runner, RunOptions
from fer_edge.engines.lifetime import StateLock
from fer_edge.errors import ConfigError, CopyError, EngineError, FacesError, InputError, shown
from fer_edge.expression import Expression as Expression
from fer_edge.faces.face import Face, crop_to_frame
from fer_edge.faces.geometry import Similarity, resample
from fer_edge.loaded import BundlePath, LoadedModel, Source, open_bundle, open_update
from fer_edge.quality import measure_quality
from fer_edge.shipped import shipped_bundle as shipped_bundle
from fer_edge.signing import PublicKey

Faces: TypeAlias = Sequence[Box | Face | None] | SupportsArray  # an array has the shape (N, 4)
CLOSED = "the recognizer is closed; open the bundle again"


class Recognizer:
    """Recogniser of face expressions in frames.

    Any thread may call it; calls run one after another, also those of `asyncio.to_thread`. For parallel calls, open one
    recognizer per thread. A recognizer cannot be pickled: open one in each process.

    `reload` replaces the model between two calls; each result is that of one model.

    >>> with Recognizer.open() as recognizer:
    ...     expression = recognizer.recognize(frame, box=(x, y, width, height))
    """

    def __init__(
        self, runner: Runner, labels: Sequence[str], *, engine: str = "", source: Source | None = None
    ) -> None:
        self._model = LoadedModel(runner, labels, engine=engine, source=source)
        self._closed = False
        self._swapping, self._reloading = StateLock(), StateLock()

    @property
    def runner(self) -> Runner:
        """Runner of the engine, for batches of crops: see `fer_edge.engines.base.Runner`."""
        return self._model.runner

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the model, in the order of `Expression.scores`."""
        return self._model.labels

    @property
    def engine(self) -> str:
        """Name of the engine: "openvino"."""
        return self._model.engine

    @property
    def model_hash(self) -> str:
        """SHA-256 of the model, `model.onnx` in the bundle."""
        return self._model.model_hash

    @classmethod
    def open(
        cls,
        path: BundlePath = None,
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
            path: Path of the bundle, or an open bundle; None or "edge": the shipped bundle. Several recognizers on one
                bundle start faster from `Bundle.open(path, in_memory=True)`, which checks it once.
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
        return Source(open_bundle(path, signed_by), engine, run_options, faces).load(cls)

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

        The next call of this recognizer, from any thread, overwrites the buffer; after `reload` it is not to be used.

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
        crops = []
        for index, box in enumerate(boxes):
            try:
                crops.append(_plan_crop(frame, box))
            except InputError as error:
                raise InputError(_describe_errors({index: error}, len(boxes))) from error
        while True:
            model = self._model
            with model.runner.exclusive():
                if model is not self._model:  # replaced while this call waited
                    continue
                self._check_open()
                if len(crops) > model.runner.max_batch:
                    raise InputError(
                        f"{len(crops)} boxes; the largest batch of this engine is {model.runner.max_batch}: "
                        "call recognize_faces, which splits boxes into batches"
                    )
                for image, crop in zip(model.images, crops, strict=False):
                    _write_crop(frame, crop, image, color)
                return model.images[: len(crops)]

    def postprocess(self, prediction: Prediction) -> list[Expression]:
        """Convert a prediction to expressions.

        They have neither quality and warnings, which need the frame, nor a model hash. With
        `reload(other_labels=True)`, make sure that the model is not replaced between `infer` and this call.
        """
        return self._model.expressions(prediction, [None] * len(prediction.probabilities), model_hash="")

    def _run(self, frame: npt.NDArray[np.uint8], crops: Sequence[_Crop], color: str) -> list[Expression]:
        """Crop and run faces in batches on one model, while holding its runner's lock."""
        while True:
            model = self._model
            with model.runner.exclusive():
                if model is not self._model:  # replaced while this call waited
                    continue
                try:
                    self._check_open()
                    return self._run_batches(model, frame, crops, color)
                finally:
                    model.settle()

    def _run_batches(
        self, model: LoadedModel, frame: npt.NDArray[np.uint8], crops: Sequence[_Crop], color: str
    ) -> list[Expression]:
        expressions: list[Expression] = []
        largest = model.runner.max_batch
        for start in range(0, len(crops), largest):
            if model.runner.is_closed:  # by a signal handler
                raise EngineError(CLOSED)
            batch, qualities = crops[start : start + largest], []
            for image, crop in zip(model.images, batch, strict=False):
                _write_crop(frame, crop, image, color)
                qualities.append(measure_quality(crop.region, image, crop.face))
            prediction = model.runner.run(model.images[: len(batch)])
            expressions += model.expressions(prediction, qualities, model.model_hash)
        return expressions

    def reload(
        self, path: BundlePath = None, *, signed_by: PublicKey | None = None, other_labels: bool = False
    ) -> None:
        """Replace the model by that of a bundle, without an error or a wait for the calls of other threads.

        The bundle is opened, loaded and run once beside the current model, which takes the memory of both. Then the
        model is replaced between two calls. A call that runs meanwhile ends on the former model, which is closed after
        it. Engine, run options and `faces` stay those of `open`. After an error the former model stays in use. Of two
        reloads at the same moment, the later one waits for the other, and its model stays.

        Args:
            path: Path of the bundle, or an open bundle; None: the path of the current one, whose file was replaced.
            signed_by: Public key that must have signed the bundle; None: that of the current one, if it had one.
            other_labels: Whether the bundle may have other labels, or their order may differ. False by default.

        Raises:
            SignatureError: Signature that is missing, invalid, by another key, or of another file.
            BundleError: Bundle that cannot be used, as for `open`, or that has other labels.
            ConfigError: Key or open bundle that cannot be used, or a recognizer without a bundle and no path.
            EngineError: The recognizer is closed, this thread is inside a call, or the engine failed.
            NonFiniteError: NaN or infinity in the model's outputs.
        """
        with self._reloading:
            self.swap(self.prepare(path, signed_by=signed_by, other_labels=other_labels))

    def prepare(
        self, path: BundlePath = None, *, signed_by: PublicKey | None = None, other_labels: bool = False
    ) -> LoadedModel:
        """Load a model for `swap`, so that several recognizers change their models together, or none does.

        Arguments and errors are those of `reload`. Close a model that is not used.
        """
        self._check_open()
        if self.runner.is_in_call:
            raise EngineError(
                "the model cannot be replaced during a call of the same thread, for example in a signal handler; do it "
                "in another thread"
            )
        return open_update(self._model, path, signed_by, other_labels).load(LoadedModel)

    def swap(self, model: LoadedModel) -> None:
        """Use a model of `prepare` from the next call on, and close the former one after its last call.

        Raises:
            EngineError: The recognizer is closed, and so is the model now.
        """
        with self._swapping:
            former, is_closed = self._model, self._closed
            if not is_closed:
                self._model = model
        if is_closed:
            model.close()
            raise EngineError(CLOSED)
        if former is not model:
            former.close()

    def _check_input(self, frame: npt.NDArray[np.uint8], color: str) -> None:
        self._check_open()
        check_frame(frame)
        check_color(color)

    def _check_open(self) -> None:
        model = self._model
        # A runner that is closed and still in use was closed by the app; `swap` closes one that is not.
        if self._closed or (model.runner.is_closed and model is self._model):
            raise EngineError(CLOSED)

    def close(self) -> None:
        """Release the engine after the call of another thread has returned; may be called several times.

        If a signal handler calls this during a call of the same thread, the engine is released at the end of that call.
        """
        with self._swapping:
            self._closed, model = True, self._model
        model.close()

    def __repr__(self) -> str:
        model = self._model
        state = "closed" if self._closed or model.runner.is_closed else "open"
        engine = f" on {model.engine}" if model.engine else ""
        return f"<Recognizer{f' {model.name}' if model.name else ''}{engine}, {len(model.labels)} labels, {state}>"

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
