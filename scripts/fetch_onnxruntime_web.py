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
ARCHIVE = ""  # SHA-256 of npm's archive
FILES: dict[str, str] = {}  # SHA-256 by path in the archive
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
