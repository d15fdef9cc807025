"""Worker of a plain `torch.onnx` export on ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from benchmarks.peers.plain_model import PlainModel
from benchmarks.peers.protocol import Face, parser, serve


def main() -> None:
    """Load the model and serve."""
    arguments = parser(__doc__)
    arguments.add_argument("--model", type=Path, required=True)
    arguments.add_argument("--description", type=Path, required=True)
    options = arguments.parse_args()
    plain = PlainModel(options.description)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(options.model.read_bytes(), settings, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def recognise(face: Face) -> int:
        logits = session.run(None, {name: plain.prepare(face)})
        return plain.predict(logits[0], logits[1] if len(logits) > 1 else None)

    ready = {
        "labels": plain.labels,
        "bytes": options.model.stat().st_size,
        "versions": f"onnxruntime {onnxruntime.__version__}",
    }
    serve(recognise, options.faces, ready)


if __name__ == "__main__":
    main()
