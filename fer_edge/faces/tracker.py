"""Expressions of people in video: faces found, followed, recognised and smoothed."""

from __future__ import annotations

import math
import time as clock
import weakref
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from fer_edge.crop import check_color, check_frame
from fer_edge.document import person_data
from fer_edge.engines.lifetime import CallLock
from fer_edge.errors import ConfigError, CopyError, EngineError, InputError, shown
from fer_edge.expression import Expression
from fer_edge.faces.detector import MIN_BOX, MIN_SCORE_ALONE, FaceDetector, detection_engine
from fer_edge.faces.face import Face
from fer_edge.faces.networks import MAX_OVERLAP, overlap
from fer_edge.faces.searcher import CallingThread, Candidates, OwnThread, Request
from fer_edge.faces.smoothing import HYSTERESIS, OneEuro, Smoother
from fer_edge.faces.tracks import Track, associate, corners
from fer_edge.loaded import BundlePath
from fer_edge.recognizer import Recognizer
from fer_edge.signing import PublicKey

Frame = npt.NDArray[np.uint8]
SMOOTHING = OneEuro()
# Searches in a row without a candidate, and presence, at which a mesh is no longer trusted: it may have moved to the
# background.
MAX_MISSES, SURE_PRESENCE = 3, 0.9


@dataclass(frozen=True)
class TrackedFace:
    """Face of one person in one frame.

    Attributes:
        track_id: Number of the person: 1, 2, ...
        face: Face in this frame; where it is expected if `fresh` is false.
        expression: Smoothed expression; its label changes only with a clear lead.
        raw: Expression of this frame alone; of the last fresh frame if `fresh` is false.
        since: Time in seconds at which the label of `expression` began.
        fresh: Whether face and expression are from this frame. False for a face that is lost or has to wait, since
            there are more faces than are processed per frame.
    """

    track_id: int
    face: Face
    expression: Expression
    raw: Expression
    since: float
    fresh: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the face as a person of the result document."""
        return person_data(
            self.expression, self.face, track_id=self.track_id, raw=self.raw, since=self.since, fresh=self.fresh
        )


class ExpressionTracker:
    """Tracker of people's expressions in video.

    The detector searches every 15th frame, and each frame while a face is lost or none is tracked. Between searches,
    the face mesh follows each face from its place in the last frame. Probabilities are smoothed by a One Euro filter.

    Any thread may call it; calls run one after another. A tracker cannot be pickled: open one in each process.

    >>> with ExpressionTracker.open() as tracker:
    ...     for person in tracker.update(frame):
    ...         print(person.track_id, person.face.box, person.expression.label)
    """

    def __init__(
        self,
        detector: FaceDetector,
        recognizer: Recognizer,
        *,
        faces: int,
        detect_every: int,
        smoothing: OneEuro | None,
        hysteresis: float,
        patience: float,
        background: bool,
        resources: ExitStack,
    ) -> None:
        self._detector, self._recognizer = detector, recognizer
        self._faces, self._detect_every, self._patience = faces, detect_every, patience
        self._smoothing, self._hysteresis = smoothing, hysteresis
        self._resources = resources
        self._searcher = OwnThread(detector) if background else CallingThread(detector)
        # The thread of a tracker that is deleted without `close` ends too. Not at exit, where its lock may be held.
        weakref.finalize(self, self._searcher.close).atexit = False
        self._lock = CallLock()
        self._closed = False
        self._tracks: list[Track] = []
        self._last_id = 0
        self._frame = 0  # number of the frame
        self._searched = -detect_every  # number of the frame that was last searched
        self._time = -math.inf

    @classmethod
    def open(
        cls,
        bundle: BundlePath = "edge",
        *,
        engine: str | None = None,
        threads: int | None = 1,
        faces: int = 4,
        detect_every: int = 15,
        smoothing: OneEuro | None = SMOOTHING,
        hysteresis: float = HYSTERESIS,
        patience: float = 1.0,
        detector: FaceDetector | None = None,
        recognizer: Recognizer | None = None,
        background: bool = True,
        signed_by: PublicKey | None = None,
    ) -> ExpressionTracker:
        """Open the networks, and run them once, so that the first frame takes no longer than the others.

        Args:
            bundle: Path of the bundle, or an open bundle; "edge", the default: the shipped bundle.
            engine: Name of an engine of the bundle, which also runs the face networks if it can; None: the first that
                runs on this machine.
            threads: Number of CPU threads of each network, 1 by default; None: the engine's default.
            faces: Largest number of faces that are processed per frame, 4 by default. More faces take turns.
            detect_every: Number of frames from search to search while all faces are followed, 15 by default.
            smoothing: Settings of the filter of probabilities; None: no smoothing.
            hysteresis: Lead of another label's smoothed probability that changes the label, 0.2 by default.
            patience: Time in seconds after which a lost face is dropped, 1 by default.
            detector: Open detector with landmarks, which the caller closes; None: a new one.
            recognizer: Open recognizer, which the caller closes; None: a new one for `bundle`.
            background: Whether the detector searches in a thread of its own, so that frames never wait for it. False:
                during `update`, so that a recorded video gives the same result on every run. True by default.
            signed_by: Public key that must have signed the bundle, as for `Bundle.open`; None: the origin is not
                checked.

        Raises:
            BundleError: Bundle that cannot be read or is not for this machine.
            ConfigError: Argument out of range, `bundle` or `signed_by` beside `recognizer`, or face networks that are
                not installed.
            EngineError: Engine that is not installed or failed.
        """
        _check_settings(faces, detect_every, smoothing, hysteresis, patience)
        if recognizer is not None and (bundle not in ("edge", None) or signed_by is not None):
            name = "bundle" if signed_by is None else "signed_by"
            raise ConfigError(f"{name} is set beside recognizer, which has a bundle already; omit one of them")
        if detector is not None and not detector.has_landmarks:
            raise ConfigError("the detector has no landmarks, which follow faces; open it with landmarks=True")
        with ExitStack() as stack:
            if recognizer is None:
                recognizer = stack.enter_context(
                    Recognizer.open(bundle, engine, threads, faces=faces, signed_by=signed_by)
                )
            if detector is None:
                detector = stack.enter_context(FaceDetector.open(engine=detection_engine(engine), threads=threads))
            return cls(
                detector,
                recognizer,
                faces=faces,
                detect_every=detect_every,
                smoothing=smoothing,
                hysteresis=hysteresis,
                patience=patience,
                background=background,
                resources=stack.pop_all(),
            )

    def update(self, frame: Frame, time: float | None = None, *, color: str = "rgb") -> list[TrackedFace]:
        """Process the next frame.

        Args:
            frame: uint8 array of shape (H, W, 3).
            time: Time of the frame in seconds, later than that of the last one; None: `time.monotonic()`.
            color: Channel order of the frame: "rgb", the default, or "bgr", the order of OpenCV.

        Returns:
            Faces of the people that are tracked, the largest first. A face that was lost less than `patience` ago is
            included with `fresh` false.

        Raises:
            EngineError: The tracker is closed, or an engine failed, perhaps for the frame of an earlier call.
            InputError: Invalid frame or colour, or a time that is not later than the last.
            NonFiniteError: NaN or infinity in the model's outputs.
        """
        check_frame(frame)
        check_color(color)
        with self._lock.exclusive():
            if self._closed:
                raise EngineError("the tracker is closed; open it again")
            self._start_frame(time)
            self._find(frame, color)
            self._recognize(frame, color)
            self._tracks = [
                track for track in self._tracks if not (track.is_lost and self._time - track.alive > self._patience)
            ]
            people = [self._person(track) for track in self._tracks if track.track_id]
            self._searcher.begin()
        return sorted(people, key=lambda person: -person.face.box[2])

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the model, in the order of `Expression.scores`."""
        return self._recognizer.labels

    def reload(
        self, path: BundlePath = None, *, signed_by: PublicKey | None = None, other_labels: bool = False
    ) -> None:
        """Replace the model between two frames, as `Recognizer.reload` does, with the same arguments and errors.

        People keep their numbers. The smoothing of each face starts again with the first frame of the new model, so
        that no expression mixes two models; so does `since`.
        """
        self._recognizer.reload(path, signed_by=signed_by, other_labels=other_labels)

    def _start_frame(self, time: float | None) -> None:
        now = clock.monotonic() if time is None else _parse_time(time)
        if now <= self._time:
            raise InputError(f"time is {now:g} s; expected more than {self._time:g} s, the time of the last frame")
        if now - self._time > self._patience:
            for track in self._tracks:
                track.stop()
                track.smoother.reset()
        self._time = now
        self._frame += 1

    def _find(self, frame: Frame, color: str) -> None:
        """Search if that is due, and follow; search once more in this frame if a face is lost meanwhile."""
        is_searched = False
        while True:
            if self._is_search_due():
                self._searched, is_searched = self._frame, True
                places = {track: self._predict(track) for track in self._tracks}
                self._searcher.request(Request(frame, color, self._time, places))
            candidates = self._searcher.take()
            if candidates is not None:
                self._associate(candidates)
            self._follow(frame, color)
            if is_searched or not self._is_search_due():
                return

    def _is_search_due(self) -> bool:
        has_people = any(track.track_id for track in self._tracks)
        is_due = self._frame - self._searched >= self._detect_every
        return is_due or not has_people or any(track.is_lost for track in self._tracks)

    def _associate(self, candidates: Candidates) -> None:
        """Update tracks by the candidates of this frame or an earlier one; add the other candidates as tracks."""
        time = candidates.request.time
        places = {track: face for track, face in candidates.request.places.items() if track in self._tracks}
        pairs = associate(places, candidates.faces)
        for track in places:
            face = pairs.get(track)
            if face is None:
                track.misses += 1
                continue
            track.misses = 0
            if face.score >= MIN_SCORE_ALONE:
                track.alive = max(track.alive, time)
            if track.is_lost:
                track.place(face, time)
                track.turn = min(track.turn, self._frame - 1)  # the mesh may be fitted again in this frame
            else:
                track.face = replace(track.face, score=face.score)
        for face in candidates.faces:
            if not any(face is other for other in pairs.values()) and self._is_apart(face, self._tracks):
                self._tracks.append(Track(face, time, Smoother(self._smoothing, self._hysteresis)))

    def _follow(self, frame: Frame, color: str) -> None:
        """Fit the mesh to the faces whose turn it is: those that have waited longest, the largest first."""
        fit = [track for track in self._tracks if track.turn == self._frame]
        waiting = [track for track in self._tracks if track.turn < self._frame and not track.is_lost]
        waiting.sort(key=lambda track: (track.turn, -track.face.box[2]))
        results = []
        for track in waiting[: max(0, self._faces - len(fit))]:
            track.turn = self._frame
            place = self._predict(track)
            face = self._detector.fit(frame, place, color=color)
            if face is None or not self._is_plausible(track, face, frame):
                self._lose(track)
            else:
                results.append((overlap(corners([place])[0], corners([face])).item(), track, face))
        # If two meshes have moved to the same face, it is that of the track which expected it there.
        for _, track, face in sorted(results, key=lambda result: -result[0]):
            if not self._is_apart(face, fit):
                self._lose(track)
                continue
            track.move(face, self._time)
            fit.append(track)
            if not track.track_id:
                self._last_id += 1
                track.track_id = self._last_id

    def _lose(self, track: Track) -> None:
        if track.track_id:
            track.is_lost = True
        else:
            self._tracks.remove(track)

    def _is_plausible(self, track: Track, face: Face, frame: Frame) -> bool:
        x, y, side, _ = face.box
        is_inside = 0 < x + side / 2 < frame.shape[1] and 0 < y + side / 2 < frame.shape[0]
        is_sure = track.misses < MAX_MISSES or (face.presence or 0.0) >= SURE_PRESENCE
        return is_inside and side >= MIN_BOX and is_sure

    def _is_apart(self, face: Face, tracks: Iterable[Track]) -> bool:
        """Return whether a face is not that of a track."""
        others = [self._predict(track) for track in tracks if not track.is_lost]
        return not others or float(overlap(corners([face])[0], corners(others)).max()) <= MAX_OVERLAP

    def _predict(self, track: Track) -> Face:
        return track.predict(self._time, self._patience)

    def _recognize(self, frame: Frame, color: str) -> None:
        """Recognise the faces to which the mesh was fitted in this frame, and smooth their probabilities."""
        tracks = [track for track in self._tracks if self._is_fresh(track)]
        raw = self._recognizer.recognize_faces(frame, [track.face for track in tracks], color=color) if tracks else []
        for track, expression in zip(tracks, raw, strict=True):
            if track.smoother.label >= 0 and track.raw.model_hash != expression.model_hash:
                track.smoother.reset()
            labels = tuple(expression.scores)  # of the model of this frame, which may be replaced meanwhile
            scores = track.smoother.update(np.array([*expression.scores.values()]), self._time).tolist()
            track.raw, index = expression, track.smoother.label
            track.expression = replace(
                expression,
                label=labels[index],
                score=scores[index],
                scores=dict(zip(labels, scores, strict=True)),
                min_score=track.smoother.min_score,
            )

    def _is_fresh(self, track: Track) -> bool:
        return track.turn == self._frame and track.track_id > 0 and not track.is_lost

    def _person(self, track: Track) -> TrackedFace:
        return TrackedFace(
            track.track_id,
            self._predict(track),
            track.expression,
            track.raw,
            track.smoother.since,
            self._is_fresh(track),
        )

    def close(self) -> None:
        """End the thread, and release the engines that were opened for this tracker; may be called several times."""
        self._closed = True
        if self._lock.is_held() or self._lock.orphaned:  # the call of this thread, or of one that a fork left behind
            return
        with self._lock.exclusive():
            self._searcher.close()
            self._resources.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<ExpressionTracker {self._detector.network}, {len(self._tracks)} tracks, {state}>"

    def __reduce__(self) -> NoReturn:
        """Refuse pickling and copying.

        Raises:
            CopyError: Always.
        """
        raise CopyError(
            "a tracker holds engines of this process and cannot be pickled or copied; open it in each process: "
            "ExpressionTracker.open()"
        )

    def __enter__(self) -> ExpressionTracker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _parse_time(time: float) -> float:
    try:
        seconds = float(time)
    except (TypeError, ValueError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise InputError(f"time is {shown(time)}; expected the time of the frame in seconds")
    return seconds


def _check_settings(
    faces: int, detect_every: int, smoothing: OneEuro | None, hysteresis: float, patience: float
) -> None:
    for name, value in (("faces", faces), ("detect_every", detect_every)):
        if type(value) is not int or value < 1:
            raise ConfigError(f"{name} is {shown(value)}; expected a whole number from 1 on")
    if not isinstance(smoothing, OneEuro | None):
        raise ConfigError(f"smoothing is {shown(smoothing)}; expected OneEuro(...) or None")
    if type(hysteresis) not in (int, float) or not 0 <= hysteresis < 1:
        raise ConfigError(f"hysteresis is {shown(hysteresis)}; expected a number from 0 to below 1")
    if type(patience) not in (int, float) or not 0 < patience < math.inf:
        raise ConfigError(f"patience is {shown(patience)}; expected a number of seconds above 0")
