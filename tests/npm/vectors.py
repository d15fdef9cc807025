"""Inputs and Python's results for the tests of the npm package: `vectors.json` and the arrays in `arrays.bin`.

`python -m tests.npm.vectors FOLDER FERPLUS` writes them, with face crops of the folder FERPLUS.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
import skimage.data
from PIL import Image

from fer_edge import ExpressionTracker, Face, FaceDetector, InputError, OneEuro, Recognizer, TrackedFace, read_image
from fer_edge import document as result
from fer_edge.boxes import check_plausible, find_region, parse_box
from fer_edge.circumplex import RATINGS, circumplex
from fer_edge.crop import crop_and_resize
from fer_edge.expression import Expression
from fer_edge.faces.geometry import Similarity, resample
from fer_edge.faces.networks import Detections, suppress
from fer_edge.faces.smoothing import Smoother
from fer_edge.labels import _SYNONYMS
from fer_edge.quality import FaceQuality

Frame = npt.NDArray[np.uint8]
ENGINE = "onnxruntime"  # the engine that onnxruntime-web is built from
RATE = 30
FACES = 64


class Arrays:
    """File of arrays of bytes, which vectors refer to by offset and shape."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0

    def add(self, array: Frame) -> dict[str, Any]:
        data = np.ascontiguousarray(array).tobytes()
        reference = {"at": self._size, "shape": list(array.shape)}
        self._chunks.append(data)
        self._size += len(data)
        return reference

    def write(self, path: Path) -> None:
        path.write_bytes(b"".join(self._chunks))


def photos() -> dict[str, Frame]:
    """Return two photographs with one face each; both are in the public domain."""
    hopper = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    return {"astronaut": skimage.data.astronaut(), "hopper": read_image(hopper)}


def face_crops(ferplus: Path) -> list[Path]:
    """Return images of FERPlus's validation split."""
    return sorted((ferplus / "FER2013Valid").glob("*.png"))[:FACES]


def face_data(face: Face) -> dict[str, Any]:
    return {
        "box": face.box,
        "score": face.score,
        "points": face.points.tolist(),
        "tilt": face.tilt,
        "presence": face.presence,
    }


def quality_data(quality: FaceQuality) -> dict[str, Any]:
    return dict(vars(quality))


def expression_data(expression: Expression) -> dict[str, Any]:
    derived = expression.circumplex
    assert expression.quality is not None
    return {
        "label": expression.label,
        "score": expression.score,
        "scores": expression.scores,
        "certain": expression.certain,
        "warning": expression.warning,
        "derived": None if derived is None else derived._asdict(),
        "quality": quality_data(expression.quality),
    }


def person_data(person: TrackedFace) -> dict[str, Any]:
    face, expression = face_data(person.face), expression_data(person.expression)
    del face["presence"]
    raw = person.raw
    return {
        "id": person.track_id,
        "face": face,
        "quality": expression.pop("quality"),
        "expression": expression,
        "raw": {"label": raw.label, "score": raw.score, "scores": raw.scores},
        "since": person.since,
        "fresh": person.fresh,
    }


def refused(call: Callable[[], object]) -> str | None:
    """Return the message of an InputError, or None."""
    try:
        call()
    except InputError as error:
        return str(error)
    return None


def box_vectors() -> list[dict[str, Any]]:
    """Return boxes with their regions, or the messages with which they are refused."""
    generator = np.random.default_rng(1)
    boxes = [tuple(row) for row in np.round(generator.uniform(-60, 300, (60, 4)), 2).tolist()]
    boxes += [
        (0.2, 0.2, 0.5, 0.5),
        (5, 5, 3, 30),
        (100, 50, 260, 230),
        (50, 300, 200, 120),
        (0, 0, 0, 5),
        (9, 9, -4, 4),
    ]
    boxes += [(0, 0, 9000, 10), (1e7, 0, 10, 10), (10.5, 20.25, 40, 60)]
    rows = []
    for box in boxes:
        message = refused(lambda box=box: find_region(parse_box(box), 320, 240))  # type: ignore[misc]
        implausible = refused(lambda box=box: check_plausible(parse_box(box), 320, 240))  # type: ignore[misc]
        region = None if message else find_region(parse_box(box), 320, 240)._asdict()
        rows.append({"box": box, "region": region, "refused": message, "implausible": implausible})
    return rows


def crop_vectors(arrays: Arrays) -> list[dict[str, Any]]:
    """Return crops of random frames by random boxes, of frames as a whole, and by similarities."""
    generator = np.random.default_rng(2)
    rows = []
    for index in range(90):
        width, height = (int(value) for value in generator.integers(1, 400, 2))
        frame = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        row: dict[str, Any] = {"frame": arrays.add(frame), "box": None, "similarity": None}
        if index % 3 == 0:
            x, y = generator.uniform(-0.3 * width, width), generator.uniform(-0.3 * height, height)
            w, h = generator.uniform(1, 1.5 * width), generator.uniform(1, 1.5 * height)
            if index % 9 == 0:
                x, y, w, h = float(int(x)), float(int(y)), 112.0, 112.0  # without scaling
            if x + w <= 0 or y + h <= 0:
                continue  # outside of the frame
            row["box"] = (x, y, w, h)
            crop = crop_and_resize(frame, (x, y, w, h))
        elif index % 3 == 1:
            scale, angle = generator.uniform(0.1, 4.5), generator.uniform(-math.pi, math.pi)
            a, b = scale * math.cos(angle), scale * math.sin(angle)
            c, d = generator.uniform(-100, width), generator.uniform(-100, height)
            row["similarity"] = {"a": a, "b": b, "c": c, "d": d}
            crop = resample(frame, Similarity(a, b, c, d), np.full((112, 112, 3), 99, np.uint8))
        else:
            crop = crop_and_resize(frame)
        rows.append(row | {"crop": arrays.add(crop)})
    return rows


def strange_images() -> dict[str, Frame]:
    """Return images that labels are not certain for, and the astronaut's face among them."""
    head = Image.fromarray(skimage.data.astronaut()).crop((150, 30, 300, 180))
    noise = np.random.default_rng(3).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    return {
        "face": np.asarray(head),
        "small": np.asarray(head.resize((17, 17))),
        "blurred": np.asarray(head.resize((9, 9)).resize((150, 150), Image.Resampling.BICUBIC)),
        "flat": np.full((60, 60, 3), 128, np.uint8),
        "noise": noise,
        "tiny": noise[:5, :5],
    }


def recognition_vectors(arrays: Arrays, recognizer: Recognizer, faces: Sequence[Path]) -> list[dict[str, Any]]:
    """Return expressions of face crops, and of boxes in the astronaut's photograph."""
    images = [read_image(path) for path in faces] + [*strange_images().values()]
    rows: list[tuple[Frame, tuple[float, ...] | None]] = [(image, None) for image in images]
    astronaut = skimage.data.astronaut()
    rows += [(astronaut, box) for box in ((165, 50, 120, 120), (160.5, -20, 130, 150), (-60, 60, 110, 110))]
    return [
        {"frame": arrays.add(image), "box": box, "expression": expression_data(recognizer.recognize(image, box))}
        for image, box in rows
    ]


def detection_vectors(arrays: Arrays, recognizer: Recognizer) -> list[dict[str, Any]]:
    """Return faces of photographs, turned, reduced and dark ones among them, with their expressions."""
    rows = []
    astronaut, hopper = (Image.fromarray(photo) for photo in photos().values())
    pictures = {
        "astronaut": astronaut,
        "hopper": hopper,
        "turned": astronaut.rotate(25, Image.Resampling.BILINEAR),
        "small": astronaut.resize((200, 200)),
        "dark": Image.fromarray((np.asarray(hopper) * 0.3).astype(np.uint8)),
        "close": astronaut.crop((130, 20, 330, 220)).resize((640, 640)),
        "cut": astronaut.crop((215, 0, 512, 512)),
        "wide": astronaut.crop((0, 0, 512, 200)),
        "faceless": Image.fromarray(skimage.data.coffee()),
    }
    with FaceDetector.open(engine=ENGINE) as detector:
        for name, picture in pictures.items():
            frame = np.asarray(picture)
            faces = detector.detect(frame)
            expressions = recognizer.recognize_faces(frame, faces)
            aligned = [recognizer.preprocess(frame, [face])[0].copy() for face in faces]
            rows.append(
                {
                    "name": name,
                    "frame": arrays.add(frame),
                    "faces": [face_data(face) for face in faces],
                    "expressions": [expression_data(expression) for expression in expressions],
                    "crops": [arrays.add(crop) for crop in aligned],
                }
            )
    return rows


def clip() -> list[Frame]:
    """Return a clip in which the astronaut moves and turns, and is hidden, and a second face comes and goes."""
    astronaut, hopper = (Image.fromarray(photo) for photo in photos().values())
    first = astronaut.crop((130, 20, 330, 220)).resize((120, 120), Image.Resampling.BILINEAR)
    second = hopper.crop((130, 20, 430, 320)).resize((110, 110), Image.Resampling.BILINEAR)
    frames = []
    for index in range(26):
        canvas = Image.new("RGB", (320, 240), (90, 100, 110))
        if not 18 <= index < 21:
            turned = first.rotate(2 * index - 20, Image.Resampling.BILINEAR, fillcolor=(90, 100, 110))
            canvas.paste(turned, (10 + 2 * index, 30 + index // 2))
        if 6 <= index < 24:
            canvas.paste(second, (205, 120 - index))
        frames.append(np.asarray(canvas))
    return frames


def tracking_vectors(arrays: Arrays) -> dict[str, Any]:
    """Return a clip with the people of each frame, for several settings."""
    frames = clip()
    runs = []
    for settings in ({}, {"faces": 1, "detect_every": 4, "patience": 0.1, "hysteresis": 0.0, "smoothing": None}):
        with ExpressionTracker.open(engine=ENGINE, background=False, **settings) as tracker:  # type: ignore[arg-type]
            people = [
                [person_data(person) for person in tracker.update(frame, index / RATE)]
                for index, frame in enumerate(frames)
            ]
        runs.append({"settings": settings, "people": people})
    return {"rate": RATE, "frames": [arrays.add(frame) for frame in frames], "runs": runs}


def smoothing_vectors() -> list[dict[str, Any]]:
    """Return sequences of probabilities with the smoothed ones."""
    generator = np.random.default_rng(4)
    rows = []
    for settings, hysteresis in ((OneEuro(), 0.2), (OneEuro(2.0, 0.0, 0.5), 0.0), (None, 0.3)):
        smoother = Smoother(settings, hysteresis)
        time, steps = 0.0, []
        for index in range(40):
            time += float(generator.uniform(0.01, 0.1))
            scores = generator.dirichlet(np.full(8, 0.3 if index % 7 else 5.0))
            if index == 25:
                smoother.reset()
            smooth = smoother.update(scores, time)
            state = {"label": smoother.label, "since": smoother.since, "min_score": smoother.min_score}
            steps.append({"time": time, "scores": scores.tolist(), "smooth": smooth.tolist(), **state})
        settings_data = None if settings is None else dict(vars(settings))
        rows.append({"settings": settings_data, "hysteresis": hysteresis, "reset": 25, "steps": steps})
    return rows


def suppression_vectors() -> list[dict[str, Any]]:
    """Return overlapping detections with the merged ones."""
    generator = np.random.default_rng(5)
    rows = []
    for count in (0, 1, 30):
        centers, sides = generator.uniform(0, 300, (count, 2)), generator.uniform(-5, 90, (count, 2))
        corners = np.concatenate([centers - sides / 2, centers + sides / 2], axis=1)
        detections = Detections(corners, generator.uniform(0.3, 1, count), generator.uniform(0, 300, (count, 5, 2)))
        merged = suppress(detections)
        rows.append({"detections": _listed(detections), "merged": _listed(merged)})
    return rows


def _listed(detections: Detections) -> list[dict[str, Any]]:
    return [
        {"corners": corners.tolist(), "score": float(score), "points": points.tolist()}
        for corners, score, points in zip(*detections, strict=True)
    ]


def label_vectors() -> dict[str, Any]:
    scores = dict(zip(RATINGS, np.random.default_rng(6).dirichlet(np.ones(8)).tolist(), strict=True))
    reading = circumplex(scores)
    assert reading is not None
    return {"synonyms": _SYNONYMS, "scores": scores, "derived": reading._asdict()}


def document_vectors() -> list[dict[str, Any]]:
    """Return people with random numbers, and their documents: tracked, in a picture, in a box, and as a face crop."""
    generator = np.random.default_rng(7)
    scores = dict(zip(RATINGS, generator.dirichlet(np.ones(8)).tolist(), strict=True))
    quality = FaceQuality(123.456, 78.9, 2 / 3, 45.678901, 1 / 9, 1e-7, 0.7, 0.123456, -1.23456)
    expression = Expression("sadness", scores["sadness"], scores, "blurred", quality)
    points = generator.uniform(0, 640, (5, 2))
    face = Face((1.234, -5.678, 99.999, 99.999), 0.9876543, points)
    tracked = TrackedFace(3, face, expression, replace(expression, label="anger", score=1 / 3), 1 / 7, False)
    people: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (
            person_data(tracked),
            result.person_data(expression, face, track_id=3, raw=tracked.raw, since=tracked.since, fresh=False),
        )
    ]
    alone = expression_data(expression)
    place = face_data(face) | {"presence": None}
    for where, given in ((place, face), ([1.5, 2.005, 30, 40.25], (1.5, 2.005, 30.0, 40.25)), (None, None)):
        people.append(({"expression": alone, "face": where}, result.person_data(expression, given)))
    settings: list[dict[str, Any]] = [{"frame": 7, "time": 7 / 30, "size": (640, 480)}, {}, {}, {}]
    return [
        {"person": person, "settings": setting, "document": result.make_document("camera", [data], **setting)}
        for (person, data), setting in zip(people, settings, strict=True)
    ]


def write_arithmetic(folder: Path) -> None:
    """Write the vectors that need no network."""
    arrays = Arrays()
    _write(folder, arrays, _arithmetic(arrays))


def write_vectors(folder: Path, faces: Sequence[Path]) -> None:
    """Write all vectors.

    Args:
        folder: Existing folder.
        faces: Images of face crops.
    """
    arrays = Arrays()
    vectors = _arithmetic(arrays)
    with Recognizer.open(engine=ENGINE, threads=1) as recognizer:
        vectors["recognition"] = recognition_vectors(arrays, recognizer, faces)
        vectors["detection"] = detection_vectors(arrays, recognizer)
    vectors["tracking"] = tracking_vectors(arrays)
    _write(folder, arrays, vectors)


def _arithmetic(arrays: Arrays) -> dict[str, Any]:
    return {
        "boxes": box_vectors(),
        "crops": crop_vectors(arrays),
        "smoothing": smoothing_vectors(),
        "suppression": suppression_vectors(),
        "labels": label_vectors(),
        "documents": document_vectors(),
    }


def _write(folder: Path, arrays: Arrays, vectors: dict[str, Any]) -> None:
    arrays.write(folder / "arrays.bin")
    (folder / "vectors.json").write_text(json.dumps(vectors))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    write_vectors(target, face_crops(Path(sys.argv[2])))
