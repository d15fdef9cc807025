"""Quantise a plain export with NNCF as it comes: default preset, 300 training faces.

quantise_nncf.py MODEL.onnx DESCRIBED.json FACES OUT.xml
"""

from __future__ import annotations

import sys
from pathlib import Path

import nncf
import numpy as np
import openvino

from benchmarks.peers.plain import Plain
from benchmarks.peers.protocol import SIDE


def main() -> None:
    """Write the model."""
    model, described, faces, out = map(Path, sys.argv[1:5])
    plain = Plain(described)
    images = np.fromfile(faces, np.uint8).reshape(-1, SIDE, SIDE, 3)
    network = openvino.Core().read_model(model)
    quantised = nncf.quantize(network, nncf.Dataset(list(images), plain.prepare), subset_size=len(images))
    openvino.save_model(quantised, out, compress_to_fp16=False)


if __name__ == "__main__":
    main()
