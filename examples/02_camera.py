"""Print the expressions of everybody in front of a camera, or in a video file.

pip install "fer-edge[video]"
python examples/02_camera.py 0
python examples/02_camera.py video.mp4
"""

# --8<-- [start:example]
from fer_edge import ExpressionTracker, open_source


def print_expressions(source: str) -> list[str]:
    """Print the expression of each person whenever it changes, and return all lines that were printed.

    Args:
        source: Index of a camera, path of a video file or folder of images, or URL of a stream.
    """
    labels: dict[int, str] = {}  # by person
    lines: list[str] = []
    # Of a camera, frames never wait for the search for faces; of a recording, every run gives the same result.
    with open_source(source) as frames, ExpressionTracker.open(background=frames.is_live) as tracker:
        for frame in frames:
            for person in tracker.update(frame.image, frame.time):
                label = person.expression.display_label  # "unsure" for an uncertain face
                if person.fresh and labels.get(person.track_id) != label:
                    labels[person.track_id] = label
                    lines.append(f"{frame.time:.1f} s: person {person.track_id}: {label}")
                    print(lines[-1])
    return lines


# --8<-- [end:example]

if __name__ == "__main__":
    import sys

    if len(sys.argv) != 2:
        sys.exit("usage: 02_camera.py CAMERA|VIDEO|URL")
    print_expressions(sys.argv[1])
