"""Worker of a plain `torch.onnx` export, or of its quantisation by NNCF, on OpenVINO."""

from __future__ import annotations

from pathlib import Path

import openvino

from benchmarks.peers.plain_model import PlainModel
from benchmarks.peers.protocol import Face, parser, serve


def main() -> None:
    """Load the model and serve."""
    arguments = parser(__doc__)
    arguments.add_argument("--model", type=Path, required=True, help=".onnx, or .xml with its .bin beside it")
    arguments.add_argument("--description", type=Path, required=True)
    arguments.add_argument("--precision", help="precision hint; default: OpenVINO's default")
    options = arguments.parse_args()
    plain = PlainModel(options.description)
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": options.threads}
    if options.precision is not None:
        settings["INFERENCE_PRECISION_HINT"] = options.precision
    core = openvino.Core()
    request = core.compile_model(core.read_model(options.model), "CPU", settings).create_infer_request()

    def recognise(face: Face) -> int:
        logits = request.infer([plain.prepare(face)], share_inputs=True, share_outputs=True)
        return plain.predict(logits[0], logits[1] if len(logits) > 1 else None)

    weights = options.model.with_suffix(".bin")
    ready = {
        "labels": plain.labels,
        "bytes": options.model.stat().st_size + (weights.stat().st_size if weights.exists() else 0),
        "versions": f"openvino {openvino.__version__.split('-')[0]}",
    }
    serve(recognise, options.faces, ready)


if __name__ == "__main__":
    main()
