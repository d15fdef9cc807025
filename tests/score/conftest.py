"""Sources of each kind, made from scikit-image's photograph of an astronaut, and a tiny bundle."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow as arrow
import pytest
import skimage.data
from PIL import Image
from pyarrow import parquet

from tests.faces.conftest import networks
from tests.tiny import tiny_bundle
from tests.video.clips import write_clip

__all__ = ["networks"]

FACE = Image.fromarray(skimage.data.astronaut()).crop((165, 70, 285, 190))


def png(turn: float = 0.0) -> bytes:
    """Return the face, turned by an angle in degrees, as a PNG file."""
    data = io.BytesIO()
    FACE.rotate(turn).save(data, "PNG")
    return data.getvalue()


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny.fer")


@pytest.fixture(scope="session")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with images, tables, an archive and a video, some of them damaged."""
    folder = tmp_path_factory.mktemp("mixture")
    (folder / "a.png").write_bytes(png())
    (folder / "damaged.png").write_bytes(png()[:300])
    parquet.write_table(arrow.table({"id": [1, 2, 3], "image": [png(1), b"text", None]}), folder / "bytes.parquet")
    paths = ["a.png", "../outside.png", "/etc/hostname"]
    parquet.write_table(arrow.table({"path": paths}), folder / "paths.parquet")
    write_tar(folder / "samples.tar", {"0.png": png(2), "0.json": b"{}", "../../1.jpg": png(3), "2.png": b""})
    write_clip(folder / "clip.mp4", [skimage.data.astronaut()[:240, 120:360]] * 3)
    return folder
