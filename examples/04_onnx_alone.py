"""Run the ONNX graph of a bundle with ONNX Runtime alone, without fer-edge.

fer-edge build-engine --recipe onnx-portable -o edge-onnx.fer
python examples/04_onnx_alone.py edge-onnx.fer face.png
"""

# --8<-- [start:example]
import json
import zipfile

import numpy as np
import onnxruntime
from PIL import Image


def recognize(bundle: str, face: str) -> tuple[str, float]:
    """Return label and probability of a face crop in an image file."""
    model = zipfile.ZipFile(bundle).read("model.onnx")
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    labels = json.loads(session.get_modelmeta().custom_metadata_map["labels"])
    image = Image.open(face).convert("RGB").resize((112, 112), Image.Resampling.BILINEAR)
    (probabilities,) = session.run(["probabilities"], {"images": np.asarray(image)[None]})  # uint8 (1, 112, 112, 3)
    best = int(probabilities[0].argmax())
    return labels[best], float(probabilities[0, best])


# --8<-- [end:example]

if __name__ == "__main__":
    import sys

    if len(sys.argv) != 3:
        sys.exit("usage: 04_onnx_alone.py BUNDLE IMAGE")
    print(*recognize(*sys.argv[1:]))
