"""Worker of the expression network of @vladmandic/face-api, rebuilt from its weights in OpenVINO.

The package runs on WebAssembly; this worker shows the speed of its network on fer-edge's default engine. The layers
are those of its `denseBlock4` and `FaceFeatureExtractor`; scaling is without half-pixel centres, as in TensorFlow.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino
from openvino import opset13 as ops

from benchmarks.peers.protocol import SIDE, Face, parser, serve

LABELS = ["neutral", "happiness", "sadness", "anger", "fear", "disgust", "surprise"]
SIZE = 112
MEAN = (122.782, 117.001, 104.298)
NAME = "face_expression_model"
Weights = dict[str, npt.NDArray[np.float32]]


def read_weights(folder: Path) -> Weights:
    """Return arrays by name; the file has 8-bit values with a scale and an offset, or float32."""
    data, offset, arrays = (folder / f"{NAME}.bin").read_bytes(), 0, {}
    for group in json.loads((folder / f"{NAME}-weights_manifest.json").read_text()):
        for entry in group["weights"]:
            count, stored = int(np.prod(entry["shape"])), entry.get("quantization")
            kind = np.dtype(stored["dtype"] if stored else entry["dtype"])
            values = np.frombuffer(data, kind, count, offset).astype(np.float32).reshape(entry["shape"])
            offset += count * kind.itemsize
            arrays[entry["name"]] = values * stored["scale"] + stored["min"] if stored else values
    return {name: values.astype(np.float32) for name, values in arrays.items()}


def network(weights: Weights) -> Any:
    """Build the network from uint8 of shape (1, 48, 48, 3) to seven scores."""
    face = ops.parameter([1, SIDE, SIDE, 3], np.uint8)
    x = ops.convert(ops.transpose(face, np.array([0, 3, 1, 2])), np.float32)
    size, axes = ops.constant(np.array([SIZE, SIZE])), ops.constant(np.array([2, 3]))
    x = ops.interpolate(x, size, "linear_onnx", "sizes", coordinate_transformation_mode="asymmetric", axes=axes)
    x = ops.divide(ops.subtract(x, _row(np.array(MEAN, np.float32))), np.float32(255))
    for block in range(4):
        x = _dense_block(x, weights, f"dense{block}", first=block == 0)
    x = ops.avg_pool(x, [2, 2], [0, 0], [0, 0], [7, 7], True)
    x = ops.reshape(x, np.array([1, -1]), False)
    scores = ops.add(ops.matmul(x, ops.constant(weights["fc/weights"]), False, False), weights["fc/bias"])
    return openvino.Model([scores], [face], NAME)


def _dense_block(x: Any, weights: Weights, name: str, *, first: bool) -> Any:
    """Add four convolutions; the input of each is the sum of all before it."""
    if first:
        filters = np.ascontiguousarray(weights[f"{name}/conv0/filters"].transpose(3, 2, 0, 1))
        x = ops.convolution(x, ops.constant(filters), [2, 2], [0, 0], [0, 0], [1, 1], "same_upper")
        total = ops.relu(ops.add(x, _row(weights[f"{name}/conv0/bias"])))
    else:
        total = ops.relu(_separable(x, weights, f"{name}/conv0", 2))
    summed = total
    for index in (1, 2, 3):
        summed = ops.add(summed, _separable(total, weights, f"{name}/conv{index}", 1))
        total = ops.relu(summed)
    return total


def _separable(x: Any, weights: Weights, name: str, stride: int) -> Any:
    depthwise = weights[f"{name}/depthwise_filter"].transpose(2, 3, 0, 1)[:, :, None]  # (channels, 1, 1, 3, 3)
    pointwise = weights[f"{name}/pointwise_filter"].transpose(3, 2, 0, 1)  # (out, channels, 1, 1)
    kernel = ops.constant(np.ascontiguousarray(depthwise))
    x = ops.group_convolution(x, kernel, [stride, stride], [0, 0], [0, 0], [1, 1], "same_upper")
    x = ops.convolution(x, ops.constant(np.ascontiguousarray(pointwise)), [1, 1], [0, 0], [0, 0], [1, 1])
    return ops.add(x, _row(weights[f"{name}/bias"]))


def _row(values: npt.NDArray[np.float32]) -> Any:
    return ops.constant(values.reshape(1, -1, 1, 1))


def main() -> None:
    """Build the network and serve."""
    arguments = parser(__doc__)
    arguments.add_argument("--node", type=Path, required=True, help="folder in which npm installed the package")
    options = arguments.parse_args()
    package = options.node / "node_modules" / "@vladmandic" / "face-api"
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": options.threads,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    model = network(read_weights(package / "model"))
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()

    def recognise(face: Face) -> int:
        return int(request.infer([face[None]], share_inputs=True, share_outputs=True)[0].argmax())

    version = json.loads((package / "package.json").read_text())["version"]
    ready = {
        "labels": LABELS,
        "bytes": (package / "model" / f"{NAME}.bin").stat().st_size,
        "versions": f"@vladmandic/face-api {version}, openvino {openvino.__version__.split('-')[0]}",
    }
    serve(recognise, options.faces, ready)


if __name__ == "__main__":
    main()
