"""Smoothing of expressions: label changes of still faces, and delay of a changed expression, on FERPlus.

PYTHONPATH=. .venv/bin/python benchmarks/smoothing.py ferplus/

Each frame of 30 Hz shows a face that is moved and scaled by 1.3 %, as by a detector, with the noise of a camera. A pair
of faces with different labels follow each other, one second each; a still face is shown for a minute.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_edge import OneEuro, Recognizer, read_image
from fer_edge.data.sources import image_set
from fer_edge.faces.smoothing import HYSTERESIS, Smoother
from fer_edge.faces.tracker import SMOOTHING

RATE = 30
JITTER, NOISE = 0.013, 4.0  # part of the side, of a detector; levels of 255
SETTINGS: dict[str, tuple[OneEuro | None, float]] = {
    "none": (None, 0.0),
    "hysteresis": (None, HYSTERESIS),
    "One Euro": (SMOOTHING, 0.0),
    "One Euro, hysteresis": (SMOOTHING, HYSTERESIS),
}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder of FERPlus")
    parser.add_argument("--pairs", type=int, default=60, help="number of pairs of faces")
    parser.add_argument("--jitter", type=float, default=JITTER, help="movement as a part of the side; mesh: 0.003")
    parser.add_argument("--still", type=int, default=4, help="number of still faces")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    with Recognizer.open(threads=1) as recognizer:
        faces = certain_faces(recognizer, arguments.data, 6 * arguments.pairs, rng)
        print_pairs(pair_courses(recognizer, faces, arguments.pairs, arguments.jitter, rng))
        still = [*faces][: arguments.still]
        print_still([course(recognizer, path, 60 * RATE, rng, arguments.jitter) for path in still])


def certain_faces(recognizer: Recognizer, data: Path, count: int, rng: np.random.Generator) -> dict[Path, int]:
    """Return the faces with a certain label among some of a data set, and the index of the label."""
    paths = image_set(data, recognizer.labels).paths
    faces = {}
    for index in rng.permutation(len(paths))[:count]:
        expression = recognizer.recognize(read_image(paths[index]))
        if expression.certain:
            faces[paths[index]] = recognizer.labels.index(expression.label)
    return faces


def pair_courses(
    recognizer: Recognizer, faces: dict[Path, int], count: int, jitter: float, rng: np.random.Generator
) -> list[tuple[npt.NDArray[np.float64], int]]:
    """Return the probabilities of two faces that follow each other, and the label of the second, for some pairs."""
    paths = list(faces)
    pairs = [pair for pair in zip(paths[::2], paths[1::2], strict=False) if faces[pair[0]] != faces[pair[1]]]
    return [
        (np.concatenate([course(recognizer, path, RATE, rng, jitter) for path in pair]), faces[pair[1]])
        for pair in pairs[:count]
    ]


def course(
    recognizer: Recognizer, path: Path, frames: int, rng: np.random.Generator, jitter: float
) -> npt.NDArray[np.float64]:
    """Return the probabilities of a face in each frame, (frames, labels)."""
    image = read_image(path)
    canvas = np.pad(image, ((16, 16), (16, 16), (0, 0)), mode="edge")
    rows = []
    for _ in range(frames):
        shift_x, shift_y, zoom = rng.normal(0, jitter, 3) * len(image)
        noisy = np.clip(canvas + rng.normal(0, NOISE, canvas.shape), 0, 255).astype(np.uint8)
        side = len(image) + zoom
        expression = recognizer.recognize(noisy, (16 + shift_x, 16 + shift_y, side, side))
        rows.append([*expression.scores.values()])
    return np.array(rows)


def print_pairs(courses: list[tuple[npt.NDArray[np.float64], int]]) -> None:
    """Print label changes while the face is the same, and the delay of the second label."""
    print(f"{len(courses)} pairs{'':<20} {'changes/s':>10} {'delay p50 ms':>13} {'p90 ms':>8}")
    for name, (settings, hysteresis) in SETTINGS.items():
        courses_of_labels = [smooth_labels(rows, settings, hysteresis) for rows, _ in courses]
        delays = [delay(labels, target) for labels, (_, target) in zip(courses_of_labels, courses, strict=True)]
        p50, p90 = np.percentile(delays, [50, 90], method="inverted_cdf")
        rate = sum(changes(labels[:RATE]) for labels in courses_of_labels) / len(courses)
        print(f"{name:<28} {rate:10.2f} {p50:13.0f} {p90:8.0f}")


def print_still(courses: list[npt.NDArray[np.float64]]) -> None:
    """Print label changes of still faces in a minute."""
    print(f"\n{'still faces, one minute':<28} changes of each")
    for name, (settings, hysteresis) in SETTINGS.items():
        counts = [changes(smooth_labels(rows, settings, hysteresis)) for rows in courses]
        print(f"{name:<28} {', '.join(map(str, counts))}")


def delay(labels: npt.NDArray[np.int64], target: int) -> float:
    """Return the time in ms after the first second until the label is shown; infinity if it never is."""
    shown = np.flatnonzero(labels[RATE:] == target)
    return 1000 * (shown[0] + 1) / RATE if len(shown) else np.inf


def changes(labels: npt.NDArray[np.int64]) -> int:
    """Count the changes of the label."""
    return int((np.diff(labels) != 0).sum())


def smooth_labels(rows: npt.NDArray[np.float64], settings: OneEuro | None, hysteresis: float) -> npt.NDArray[np.int64]:
    """Return the index of the label in each frame."""
    smoother, labels = Smoother(settings, hysteresis), []
    for index, scores in enumerate(rows):
        smoother.update(scores, index / RATE)
        labels.append(smoother.label)
    return np.array(labels)


if __name__ == "__main__":
    main()
