"""Inputs of all workers: faces, labels, and both models in every form."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import torch

import fer_edge
from benchmarks.peers.protocol import SIDE
from benchmarks.plain_export import plain_onnx
from fer_edge.choices import Split
from fer_edge.crop import crop_and_resize
from fer_edge.data.sources import image_set
from fer_edge.images import read_image
from fer_edge.labels import FERPLUS
from fer_edge.model.checkpoint import Checkpoint, CheckpointInfo, load_checkpoint
from fer_edge.model.config import preset
from fer_edge.model.ferformer import FERFormer
from fer_edge.recognizer import shipped_bundle
from tests.tiny_model import settle

CALIBRATION = 300
RANGES = Path(__file__).parents[2] / "calibration" / "edge.json"


def prepare_faces(data: Path, split: Split, out: Path, count: int | None) -> list[str]:
    """Write the faces of a split of FERPlus to a file without header, and return the label of each.

    Args:
        data: FERPlus folder.
        split: Split to use.
        out: File to write.
        count: Number of faces, evenly spread over the split; default: all.
    """
    images = image_set(data, FERPLUS.labels, FERPLUS.words, split)
    assert images.labels is not None
    used = len(images) if count is None else min(count, len(images))
    chosen = images.take(np.linspace(0, len(images) - 1, used).astype(np.int64))
    faces = np.zeros((used, SIDE, SIDE, 3), np.uint8)
    for index, path in enumerate(chosen.paths):
        crop_and_resize(read_image(path), chosen.boxes[index] if chosen.boxes else None, SIDE, out=faces[index])
    faces.tofile(out)
    assert chosen.labels is not None
    return [FERPLUS.labels[label] for label in chosen.labels]


def prepare_model(name: str, folder: Path, data: Path) -> None:
    """Write a model as checkpoint, bundles (fp32 and int8), plain export and description, unless they are up to date.

    `edge` has the shipped weights and activation ranges. `paper` has random weights with the statistics of trained
    ones, because no trained weights are available; its latency does not depend on them.
    """
    description = folder / f"{name}.json"
    if is_up_to_date(description):
        return
    checkpoint, ranges = folder / f"{name}.safetensors", folder / f"{name}.ranges.json"
    if name == "edge":
        shutil.copy(shipped_bundle().with_name("edge.safetensors"), checkpoint)
        shutil.copy(RANGES, ranges)
    else:
        _random(name).save(checkpoint)
        _fer_edge("calibrate", checkpoint, data, "-o", ranges, "--count", CALIBRATION)
    engines = ("--engine", "openvino", "--engine", "onnxruntime")
    _fer_edge("build-engine", checkpoint, *engines, "-o", folder / f"{name}.fer")
    int8 = ("--precision", "int8", "--ranges", ranges)
    _fer_edge("build-engine", checkpoint, *engines, *int8, "-o", folder / f"{name}-int8.fer")
    loaded = load_checkpoint(checkpoint)
    (folder / f"{name}.onnx").write_bytes(plain_onnx(loaded.model))
    info = loaded.info
    fields = {"labels": info.labels, "mean": info.mean, "std": info.std, "head": info.head}
    description.write_text(json.dumps(fields))
    mark_up_to_date(description)


def is_up_to_date(file: Path) -> bool:
    """Return whether a file exists and was made from the current code, weights and ranges."""
    mark = _mark(file)
    return file.exists() and mark.exists() and mark.read_text() == _source_hash()


def mark_up_to_date(file: Path) -> None:
    """Record that a file was made from the current code, weights and ranges."""
    _mark(file).write_text(_source_hash())


def _mark(file: Path) -> Path:
    return file.with_name(f"{file.name}.made-from")


@cache
def _source_hash() -> str:
    """Return one hash of the sources of all models: fer-edge, its weights and ranges, and the exports of the suite."""
    package, here = Path(fer_edge.__file__).parent, Path(__file__).parent
    exports = (here.parent / "plain_export.py", here / "prepare.py", here / "quantise_nncf.py")
    files = [*package.rglob("*.py"), *package.glob("presets/*.toml"), *package.glob("weights/*.*"), *exports, RANGES]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _fer_edge(*arguments: object) -> None:
    command = [sys.executable, "-m", "fer_edge", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=sys.stderr)


def _random(name: str) -> Checkpoint:
    config = preset(name, classes=len(FERPLUS))
    torch.manual_seed(0)
    labels = (FERPLUS.labels, FERPLUS.words, (), "unset")
    info = CheckpointInfo(config, *labels, (0.5,) * 3, (0.25,) * 3, "mean", {}, {"weights": "random"})
    return Checkpoint(settle(FERFormer(config).eval()), info)
