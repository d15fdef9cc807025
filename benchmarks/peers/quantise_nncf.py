"""Quantise a plain export with NNCF's default preset and 300 training faces.

quantise_nncf.py MODEL.onnx DESCRIPTION.json FACES OUT.xml
"""

from __future__ import annotations

import sys
from pathlib import Path

import nncf
import numpy as np
import openvino

from benchmarks.peers.plain_model import PlainModel
from benchmarks.peers.protocol import SIDE


def main() -> None:
    """Quantise and write the model."""
    model, description, faces, out = map(Path, sys.argv[1:5])
    plain = PlainModel(description)
    images = np.fromfile(faces, np.uint8).reshape(-1, SIDE, SIDE, 3)
    network = openvino.Core().read_model(model)
    quantised = nncf.quantize(network, nncf.Dataset(list(images), plain.prepare), subset_size=len(images))
    openvino.save_model(quantised, out, compress_to_fp16=False)


if __name__ == "__main__":
    main()
