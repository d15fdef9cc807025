"""Certainty of labels: share answered against accuracy on FERPlus, and answers for pictures without a face.

PYTHONPATH=. .venv/bin/python benchmarks/certainty.py ferplus/

Pictures without a face are noise, constants, and crops of the backgrounds of scikit-image's pictures.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import skimage.data

from fer_edge import FaceDetector, Recognizer, read_image
from fer_edge.data.sources import image_set
from fer_edge.quality import MIN_SCORE

Frame = npt.NDArray[np.uint8]
BOUNDS = (0.0, 0.4, 0.5, MIN_SCORE, 0.65, 0.75, 0.9)
COUNT = 200  # pictures of each kind without a face
ROW = "{:<34} {:>10} {:>10}"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder of FERPlus")
    parser.add_argument("--bundle", default=None, help="bundle; default: the shipped one")
    arguments = parser.parse_args()
    with Recognizer.open(arguments.bundle, threads=1) as recognizer, FaceDetector.open() as detector:
        measure_faces(arguments.data, recognizer, detector)
        measure_non_faces(recognizer, detector)


def measure_faces(data: Path, recognizer: Recognizer, detector: FaceDetector) -> None:
    """Print the share of answers and their accuracy, on FERPlus's validation split as face crops."""
    images = image_set(data, recognizer.labels)
    assert images.labels is not None
    scores, right, clean, has_mesh = [], [], [], []
    for path, label in zip(images.paths, images.labels, strict=True):
        frame = read_image(path)
        expression = recognizer.recognize(frame)
        scores.append(expression.score)
        right.append(expression.label == recognizer.labels[label])
        clean.append(not expression.warning)
        has_mesh.append(detector.fit(frame, (0, 0, frame.shape[1], frame.shape[0])) is not None)
    print(ROW.format(f"{len(images)} faces of FERPlus", "answered %", "right %"))
    values, correct = np.array(scores), np.array(right)
    for bound in BOUNDS:
        print_share(f"score of at least {bound:g}", (values >= bound) & clean, correct)
    print_share(f"the same at {MIN_SCORE:g}, and mesh", (values >= MIN_SCORE) & clean & np.array(has_mesh), correct)


def print_share(name: str, answered: npt.NDArray[np.bool_], right: npt.NDArray[np.bool_]) -> None:
    """Print one row of the table of faces."""
    print(ROW.format(name, f"{100 * answered.mean():.2f}", f"{100 * right[answered].mean():.2f}"))


def measure_non_faces(recognizer: Recognizer, detector: FaceDetector) -> None:
    """Print the share of pictures without a face that get a certain label."""
    print(f"\n{'certain labels in %':<24} {'crop':>8} {'mesh':>8} {'detector':>8}")
    for name, frames in non_faces(detector).items():
        crop = mesh = detected = 0
        for frame in frames:
            certain = recognizer.recognize(frame).certain
            face = detector.fit(frame, (0, 0, frame.shape[1], frame.shape[0]))
            faces = detector.detect(frame)
            crop += certain
            mesh += certain and face is not None and recognizer.recognize(frame, face).certain
            detected += any(expression.certain for expression in recognizer.recognize_faces(frame, faces))
        shares = (100 * count / len(frames) for count in (crop, mesh, detected))
        print(f"{name:<24} " + " ".join(f"{share:8.1f}" for share in shares))


def non_faces(detector: FaceDetector) -> dict[str, list[Frame]]:
    """Return pictures without a face by kind."""
    rng = np.random.default_rng(0)
    noise = []
    for _ in range(COUNT):
        side, grain, channels = (int(rng.integers(low, high)) for low, high in ((40, 200), (1, 5), (1, 3)))
        fine = rng.integers(0, 256, (side, side, 2 * channels - 1), dtype=np.uint8)
        noise.append(np.broadcast_to(fine.repeat(grain, 0).repeat(grain, 1), (side * grain, side * grain, 3)).copy())
    constants = [np.full((112, 112, 3), level, np.uint8) for level in range(0, 256, 2)]
    folder = Path(skimage.data.__file__).parent
    others = [path for path in sorted(folder.glob("*.[pj][np]g")) if path.stem not in {"astronaut", "camera"}]
    return {
        "noise": noise,
        "constant, black included": constants,
        "background of a portrait": list(backgrounds(rng, [skimage.data.astronaut()], detector)),
        "pictures without a face": list(backgrounds(rng, [read_image(path) for path in others], detector)),
    }


def backgrounds(rng: np.random.Generator, pictures: list[Frame], detector: FaceDetector) -> Iterator[Frame]:
    """Yield square crops that do not touch a face."""
    pictures = [picture for picture in pictures if min(picture.shape[:2]) >= 64]
    faces = [detector.detect(picture) for picture in pictures]
    count = 0
    while count < COUNT:
        index = int(rng.integers(len(pictures)))
        height, width, _ = pictures[index].shape
        side = int(rng.integers(40, min(200, height, width)))
        x, y = int(rng.integers(0, width - side + 1)), int(rng.integers(0, height - side + 1))
        boxes = [face.box for face in faces[index]]
        if all(x + side < left or left + w < x or y + side < top or top + h < y for left, top, w, h in boxes):
            yield np.ascontiguousarray(pictures[index][y : y + side, x : x + side])
            count += 1


if __name__ == "__main__":
    main()
