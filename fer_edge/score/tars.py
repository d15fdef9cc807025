"""Images in tar archives, such as the shards of webdataset: their places in the file, without unpacking."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from fer_edge._text import one_line
from fer_edge.errors import shown
from fer_edge.file_kind import describe_file
from fer_edge.images import MAX_FILE_BYTES
from fer_edge.score.items import Item
from fer_edge.walk import SUFFIXES

MAX_HEADER = 1 << 20  # bytes of an extended header, whose size field is not trustworthy
MAX_NAME = 1024  # characters


class _BoundedFile:
    """File that refuses long reads, since tarfile reads extended headers of any size into memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_HEADER:
            raise tarfile.ReadError(f"header of {size} bytes")
        return self._file.read(size)


def list_members(path: Path) -> Iterator[Item]:
    """Yield the images of an uncompressed tar archive in their order; members that are not images are skipped.

    Names are text only: nothing is unpacked, and links, devices and sparse files are not read. The end of a damaged
    archive is one damaged item.

    Args:
        path: Absolute path of the archive.
    """
    try:
        with path.open("rb") as file, tarfile.open(fileobj=cast(BinaryIO, _BoundedFile(file)), mode="r:") as archive:
            size = path.stat().st_size
            end = 0
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # tarfile would hold every member
                if member.size < 0 or member.offset < end:  # some versions of tarfile would read in a circle
                    raise tarfile.ReadError(f"member of {member.size} bytes at {member.offset}")
                end = member.offset_data
                if not member.isreg() or member.issparse() or Path(member.name).suffix.lower() not in SUFFIXES:
                    continue
                yield _item(path, member, size)
    except OSError as error:
        yield Item("damaged", str(path), error=f"cannot read {path}: {error.strerror or error}")
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        yield Item("damaged", str(path), error=_reason(path, error))


def _item(path: Path, member: tarfile.TarInfo, size: int) -> Item:
    name = member.name if len(member.name) <= MAX_NAME else shown(member.name)
    if member.offset_data + member.size > size:
        return Item("damaged", str(path), name, error=f"{name} is truncated: {path} ends before it; copy it again")
    if member.size > MAX_FILE_BYTES:
        error = f"{name} has {member.size} bytes; expected at most {MAX_FILE_BYTES}"
        return Item("damaged", str(path), name, error=error)
    return Item("member", str(path), name, member.offset_data, member.size)


def _reason(path: Path, error: Exception) -> str:
    kind = describe_file(path)
    if "gzip" in kind or "bzip2" in kind or "xz" in kind or "Zstandard" in kind:
        return f"{path} is {kind}; expected an uncompressed tar archive: unpack it with gzip -d, bzip2 -d or xz -d"
    return f"{path} is damaged or not a tar archive ({one_line(str(error))}); images before the damage are scored"
