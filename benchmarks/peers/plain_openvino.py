"""A plain `torch.onnx` export, or what NNCF made of one, on OpenVINO."""

from __future__ import annotations

from pathlib import Path

import openvino

from benchmarks.peers.plain import Plain
from benchmarks.peers.protocol import Face, answer, parser


def main() -> None:
    """Serve."""
    options = parser(__doc__)
    options.add_argument("--model", type=Path, required=True, help=".onnx, or .xml with its .bin beside it")
    options.add_argument("--described", type=Path, required=True)
    options.add_argument("--precision", help="precision hint; default: OpenVINO's own choice")
    given = options.parse_args()
    plain = Plain(given.described)
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": given.threads}
    if given.precision is not None:
        settings["INFERENCE_PRECISION_HINT"] = given.precision
    core = openvino.Core()
    request = core.compile_model(core.read_model(given.model), "CPU", settings).create_infer_request()

    def recognise(face: Face) -> int:
        logits = request.infer([plain.prepare(face)], share_inputs=True, share_outputs=True)
        return plain.decide(logits[0], logits[1] if len(logits) > 1 else None)

    weights = given.model.with_suffix(".bin")
    ready = {
        "labels": plain.labels,
        "bytes": given.model.stat().st_size + (weights.stat().st_size if weights.exists() else 0),
        "versions": f"openvino {openvino.__version__.split('-')[0]}",
    }
    answer(recognise, given.faces, ready)


if __name__ == "__main__":
    main()
