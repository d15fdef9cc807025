"""Scorer: the engines of one worker, and the scoring of one shard."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

import fer_edge
from fer_edge.analysis.analyse import DETECT_EVERY, MAX_FACES
from fer_edge.boxes import find_region
from fer_edge.bundle import Bundle
from fer_edge.document import make_document, person_data
from fer_edge.engines.base import Images
from fer_edge.errors import DataError, InputError
from fer_edge.faces.detector import FaceDetector, detection_engine
from fer_edge.faces.face import Face
from fer_edge.faces.tracker import ExpressionTracker
from fer_edge.quality import FaceQuality, measure_quality
from fer_edge.recognizer import Recognizer
from fer_edge.rows import ParquetTable
from fer_edge.score.items import Item
from fer_edge.score.pictures import Picture, read_pictures, read_video
from fer_edge.score.plan import read_plan
from fer_edge.score.shards import KEY, MAX_ERROR, Damage, Summary, shard_rows, summary_text, write_shard

MAX_BATCH = 32  # faces that are recognised at once
Advance = Callable[[int], None]


class _Waiting(NamedTuple):
    """Face that waits for its batch."""

    picture: Picture
    face: Face | None  # None: the picture is a face crop
    crop: Images
    quality: FaceQuality


class Scorer:
    """Engines of one worker. Close it, or use it as a context manager.

    Args:
        folder: Folder with the plan.
        bundle: Path of the bundle.
        threads: Number of CPU threads of each network; None: the engine's default.
        allow_host_code: Whether to run native code of a version-compatible TensorRT engine.

    Raises:
        BundleError: Bundle that cannot be used.
        DataError: Plan that is damaged, or of another bundle.
        EngineError: Engine that is not installed or failed.
    """

    def __init__(self, folder: Path, bundle: Path, threads: int | None, allow_host_code: bool) -> None:
        self._folder = folder
        self.plan = read_plan(folder)
        self._settings = self.plan.settings
        model = Bundle.open(bundle, in_memory=True)
        if model.sha256 != self._settings.model:
            raise DataError(f"{bundle} is not the bundle of the plan in {folder}; it was replaced during the run")
        self._batch = min(MAX_BATCH, model.manifest.max_batch)
        engine = self._settings.engine
        self._resources = ExitStack()
        with ExitStack() as stack:
            self._recognizer = stack.enter_context(
                Recognizer.open(model, engine, threads, faces=self._batch, allow_host_code=allow_host_code)
            )
            self._detector: FaceDetector | None = None
            if not self._settings.crop:
                detector = FaceDetector.open(
                    engine=detection_engine(engine), threads=threads, detail=self._settings.detail
                )
                self._detector = stack.enter_context(detector)
            self._resources = stack.pop_all()

    def score(self, shard: int, advance: Advance = lambda count: None) -> Summary:
        """Score a shard, and write its file.

        Args:
            shard: Number of the shard.
            advance: Function that receives the number of images just scored.

        Raises:
            FerEdgeError: Engine that failed, or file that cannot be written.
        """
        with warnings.catch_warnings(), write_shard(self._folder, shard, self._settings.labels) as table:
            # Of image libraries; the error of a damaged file has the cause.
            warnings.simplefilter("ignore", UserWarning)
            work = _Shard(self, table, advance)
            for item in self.plan.items(shard):
                work.add(item)
            work.finish()
            summary = Summary(
                self.plan.digest,
                work.images,
                work.without_face,
                work.faces,
                tuple(work.damaged),
                fer_edge.__version__,
            )
            table.flush()
            table.add_metadata({KEY: summary_text(summary)})
        return summary

    def close(self) -> None:
        """Release the engines; may be called several times."""
        self._resources.close()

    def __enter__(self) -> Scorer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Shard:
    """Scoring of one shard: faces wait until a batch is full.

    Args:
        scorer: Scorer.
        table: Open file of the shard.
        advance: Function that receives the number of images just scored.
    """

    def __init__(self, scorer: Scorer, table: ParquetTable, advance: Advance) -> None:
        self.images = self.without_face = self.faces = 0
        self.damaged: list[Damage] = []
        self._recognizer, self._detector = scorer._recognizer, scorer._detector
        self._settings, self._batch = scorer.plan.settings, scorer._batch
        self._table, self._advance = table, advance
        self._waiting: list[_Waiting] = []

    def add(self, item: Item) -> None:
        """Score an item; the last faces may still wait for their batch."""
        if item.kind == "video":
            before = self.images
            self._add_video(item)
            self._advance(item.weight - (self.images - before))  # progress counts the weight of a video
            return
        for picture in read_pictures(item, self._settings.max_pixels):
            self._add_picture(picture)

    def finish(self) -> None:
        """Recognise the faces that wait."""
        while self._waiting:
            self._recognize()

    def _add_picture(self, picture: Picture) -> None:
        try:
            if picture.image is None:
                self._refuse(picture, picture.error)
                return
            faces = self._prepare(picture, picture.image)
        except InputError as error:
            self._refuse(picture, str(error))
            return
        except MemoryError:
            self._refuse(picture, "not enough memory to find and cut out the faces; free memory, or use fewer workers")
            return
        finally:
            self._advance(1)
        self.images += 1
        self.without_face += not faces
        self._waiting += faces
        while len(self._waiting) >= self._batch:
            self._recognize()

    def _prepare(self, picture: Picture, image: Images) -> list[_Waiting]:
        """Cut out the faces of a picture; of the picture, only its names remain."""
        names = replace(picture, image=None)
        height, width = image.shape[:2]
        faces: Sequence[Face | None] = [None] if self._detector is None else self._detector.detect(image)
        waiting = []
        for face in faces:
            crop = self._recognizer.preprocess(image, [face])[0].copy()
            region = find_region(None if face is None else face.box, width, height)
            waiting.append(_Waiting(names, face, crop, measure_quality(region, crop, face)))
        return waiting

    def _recognize(self) -> None:
        """Recognise a batch, and append its rows."""
        batch, self._waiting = self._waiting[: self._batch], self._waiting[self._batch :]
        prediction = self._recognizer.runner.infer(np.stack([face.crop for face in batch]))
        for face, expression in zip(batch, self._recognizer.postprocess(prediction), strict=True):
            measured = replace(expression, quality=face.quality, warning=face.quality.warning)
            self._append(face.picture, [person_data(measured, face.face)])

    def _add_video(self, item: Item) -> None:
        self.finish()  # rows are in the order of the plan
        tracker = None
        if self._detector is not None:
            tracker = ExpressionTracker.open(
                None,
                detector=self._detector,
                recognizer=self._recognizer,
                faces=MAX_FACES,
                detect_every=DETECT_EVERY,
                background=False,
            )
        try:
            for frame in read_video(item, self._settings.max_pixels):
                if isinstance(frame, Picture):
                    self._refuse(frame, frame.error)
                    continue
                picture = Picture(item.source, image=frame.image, frame=frame.index, time=frame.time)
                if tracker is None:
                    self._add_picture(picture)
                    continue
                self.images += 1
                people = [person.to_dict() for person in tracker.update(frame.image, frame.time)]
                self.without_face += not people
                self._append(picture, people)
                self._advance(1)
        finally:
            if tracker is not None:
                tracker.close()

    def _append(self, picture: Picture, people: list[dict[str, object]]) -> None:
        document = make_document(picture.source, people, frame=picture.frame, time=picture.time)
        self._table.write(shard_rows(document, picture.item, self._settings.model))
        self.faces += len(people)

    def _refuse(self, picture: Picture, error: str) -> None:
        self.damaged.append(Damage(picture.source, picture.item, error[:MAX_ERROR]))
