"""Worker of a fer-edge bundle."""

from __future__ import annotations

from pathlib import Path

from benchmarks.peers.protocol import Face, parser, serve
from fer_edge import Bundle, Recognizer


def main() -> None:
    """Open the bundle and serve."""
    arguments = parser(__doc__)
    arguments.add_argument("--bundle", type=Path, required=True)
    arguments.add_argument("--engine", required=True)
    options = arguments.parse_args()
    bundle = Bundle.open(options.bundle)
    manifest, entry = bundle.manifest, bundle.entry(options.engine)
    ready = {
        "labels": manifest.labels,
        "bytes": manifest.files["model.onnx" if entry.file is None else entry.file]["size"],
        "versions": f"{options.engine} {entry.engine_version}",
    }
    with Recognizer.open(options.bundle, options.engine, options.threads) as recognizer:
        indices = {label: index for index, label in enumerate(manifest.labels)}

        def recognise(face: Face) -> int:
            return indices[recognizer.recognize(face).label]

        serve(recognise, options.faces, ready)


if __name__ == "__main__":
    main()
