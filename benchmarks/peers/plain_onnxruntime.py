"""A plain `torch.onnx` export on ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from benchmarks.peers.plain import Plain
from benchmarks.peers.protocol import Face, answer, parser


def main() -> None:
    """Serve."""
    options = parser(__doc__)
    options.add_argument("--model", type=Path, required=True)
    options.add_argument("--described", type=Path, required=True)
    given = options.parse_args()
    plain = Plain(given.described)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = given.threads
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(given.model.read_bytes(), settings, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def recognise(face: Face) -> int:
        logits = session.run(None, {name: plain.prepare(face)})
        return plain.decide(logits[0], logits[1] if len(logits) > 1 else None)

    ready = {
        "labels": plain.labels,
        "bytes": given.model.stat().st_size,
        "versions": f"onnxruntime {onnxruntime.__version__}",
    }
    answer(recognise, given.faces, ready)


if __name__ == "__main__":
    main()
