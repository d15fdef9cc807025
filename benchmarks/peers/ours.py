"""A fer-edge bundle."""

from __future__ import annotations

from pathlib import Path

from benchmarks.peers.protocol import Face, answer, parser
from fer_edge import Bundle, Recognizer


def main() -> None:
    """Serve."""
    options = parser(__doc__)
    options.add_argument("--bundle", type=Path, required=True)
    options.add_argument("--engine", required=True)
    given = options.parse_args()
    manifest = Bundle.open(given.bundle).manifest
    entry = Bundle.open(given.bundle).entry(given.engine)
    ready = {
        "labels": manifest.labels,
        "bytes": manifest.files["model.onnx" if entry.file is None else entry.file]["size"],
        "versions": f"{given.engine} {entry.engine_version}",
    }
    with Recognizer.open(given.bundle, given.engine, given.threads) as recognizer:
        places = {label: index for index, label in enumerate(manifest.labels)}

        def recognise(face: Face) -> int:
            return places[recognizer.recognize(face).label]

        answer(recognise, given.faces, ready)


if __name__ == "__main__":
    main()
