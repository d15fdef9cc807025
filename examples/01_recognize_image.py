"""Recognise the expression of one face in an image file.

python examples/01_recognize_image.py photo.jpg 165,70,120,120
"""

# --8<-- [start:example]
from fer_edge import Recognizer, read_image


def recognize(path: str, box: tuple[int, int, int, int] | None = None) -> None:
    """Print label and score of the face in `box`: left, top, width, height in pixels."""
    with Recognizer.open() as recognizer:  # the shipped model
        expression = recognizer.recognize(read_image(path), box)
    print(f"{expression.display_label}, score {expression.score:.2f}")
    if expression.warning:
        print(expression.warning)


# --8<-- [end:example]

if __name__ == "__main__":
    import sys

    if not 2 <= len(sys.argv) <= 3:
        sys.exit("usage: 01_recognize_image.py IMAGE [LEFT,TOP,WIDTH,HEIGHT]")
    corners = sys.argv[2].split(",") if len(sys.argv) == 3 else None
    recognize(sys.argv[1], None if corners is None else tuple(map(int, corners)))  # type: ignore[arg-type]
