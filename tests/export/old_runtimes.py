"""Old versions of ONNX Runtime, each in a folder of its own, installed by `scripts/test-onnxruntime`.

Run as a program without arguments, it prints the versions with wheels for this Python. With a folder, it runs the
graphs in it on the ONNX Runtime of its Python path.
"""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "build" / "onnxruntime"
# Newest Python with wheels, by version.
NEWEST_PYTHON = {"1.16.3": (3, 11), "1.18.1": (3, 12)}


def supported_versions() -> list[str]:
    """Return the versions with wheels for this Python."""
    return [version for version, newest in NEWEST_PYTHON.items() if sys.version_info[:2] <= newest]


def run_graphs(folder: Path) -> None:
    """Run every `NAME.onnx` of a folder on its `images.npy`, and write `NAME.npz` with all outputs."""
    import numpy as np
    import onnxruntime

    print(onnxruntime.__version__)
    images = np.load(folder / "images.npy")
    for path in sorted(folder.glob("*.onnx")):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if "half_scales" in path.stem:
            # 1.16's extended optimisations refuse float16 scales; newer versions give wrong values with all of them.
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        outputs = dict(zip(names, session.run(names, {"images": images})))  # noqa: B905  zip has no strict on every Python that runs this
        np.savez(path.with_suffix(".npz"), **outputs)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run_graphs(Path(sys.argv[1]))
    else:
        print(*supported_versions())
