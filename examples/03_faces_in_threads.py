"""Recognise several faces per frame, in worker threads that run side by side.

python examples/03_faces_in_threads.py
"""

# --8<-- [start:example]
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np

from fer_edge import Box, Expression, FacesError, Recognizer

WORKERS = 2


def recognize_frames(frames: list[np.ndarray], boxes: list[list[Box]]) -> list[list[Expression | None]]:
    """Return the expressions of every frame's faces; None for a box that cannot be used.

    Args:
        frames: uint8 arrays (height, width, 3), RGB.
        boxes: Face boxes of each frame: left, top, width, height in pixels.
    """
    free: SimpleQueue[Recognizer] = SimpleQueue()
    for _ in range(WORKERS):
        free.put(Recognizer.open(faces=4, threads=1))

    def recognize(frame: np.ndarray, faces: list[Box]) -> list[Expression | None]:
        recognizer = free.get()
        try:
            return list(recognizer.recognize_faces(frame, faces))
        except FacesError as error:  # some boxes are refused; the results of the others are in the error
            return error.results
        finally:
            free.put(recognizer)

    with ThreadPoolExecutor(WORKERS) as pool:
        expressions = list(pool.map(recognize, frames, boxes))
    for _ in range(WORKERS):
        free.get().close()
    return expressions


# --8<-- [end:example]

if __name__ == "__main__":
    noise = np.random.default_rng(0).integers(0, 256, (4, 480, 640, 3), np.uint8)
    for faces in recognize_frames(list(noise), [[(100, 100, 200, 200), (350, 100, 200, 200)]] * 4):
        print([face and f"{face.label}: {face.warning}" for face in faces])
