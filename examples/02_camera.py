"""Recognise expressions in the frames of a camera or a video file, with OpenCV.

    pip install "opencv-python<5"
    python examples/02_camera.py 0
    python examples/02_camera.py video.avi

OpenCV's Haar cascade is used as the face detector, since it needs no download; it misses many faces that a modern
detector finds.
"""

# --8<-- [start:example]
from collections import deque
from pathlib import Path

import cv2
import numpy as np

from fer_edge import Recognizer

CASCADE = Path(cv2.data.haarcascades, "haarcascade_frontalface_default.xml")


def print_expressions(source: int | str, seconds: float = 0.5) -> list[str]:
    """Print the expression of the largest face whenever it changes, and return all labels that were printed.

    Args:
        source: Index of a camera, or path of a video file.
        seconds: Time over which scores are averaged.
    """
    camera = cv2.VideoCapture(source)
    detector = cv2.CascadeClassifier(str(CASCADE))
    frames = max(1, round(seconds * (camera.get(cv2.CAP_PROP_FPS) or 30)))
    recent: deque[list[float]] = deque(maxlen=frames)  # scores of the last frames
    printed: list[str] = []
    with Recognizer.open() as recognizer:
        while True:
            success, frame = camera.read()  # uint8 (height, width, 3), BGR
            if not success:
                break
            faces = detector.detectMultiScale(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), 1.1, 5, minSize=(48, 48))
            if not len(faces):
                recent.clear()
                continue
            largest = max(faces, key=lambda face: face[2])  # left, top, width, height
            expression = recognizer.recognize(frame, largest, color="bgr")
            recent.append(list(expression.scores.values()))
            label = list(expression.scores)[int(np.mean(recent, axis=0).argmax())]
            if expression.certain and printed[-1:] != [label]:
                printed.append(label)
                print(label)
    camera.release()
    return printed


# --8<-- [end:example]

if __name__ == "__main__":
    import sys

    if len(sys.argv) != 2:
        sys.exit("usage: 02_camera.py CAMERA|VIDEO")
    print_expressions(int(sys.argv[1]) if sys.argv[1].isdigit() else sys.argv[1])
