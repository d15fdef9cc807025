"""Listing of the images below a folder, with the reason for every file or folder left out.

All commands and data sets use this listing.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import ImageError, shown
from fer_edge.file_kind import describe_file

SUFFIXES = frozenset(
    {".avif", ".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"}
)
VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".wmv", ".flv", ".mpg", ".mpeg", ".mts", ".m2ts", ".3gp"),
    ".ogv",
)
_CONVERT = "convert to JPEG or PNG"
_OTHER_KINDS = {
    f"HEIC image ({_CONVERT})": (".heic", ".heif", ".heics", ".hif"),
    f"JPEG 2000 image ({_CONVERT})": (".jp2", ".j2k", ".jpf", ".jpx", ".jpc"),
    f"JPEG XL image ({_CONVERT})": (".jxl",),
    f"camera raw image ({_CONVERT})": (
        *(".raw", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".dng", ".orf", ".pef", ".raf", ".rw2"),
        *(".rwl", ".srw", ".x3f"),
    ),
    f"drawing ({_CONVERT})": (".svg", ".svgz", ".eps", ".ps", ".ai", ".wmf", ".emf"),
    f"document ({_CONVERT})": (".psd", ".psb", ".xcf", ".pdf", ".djvu"),
    f"image of an unsupported format ({_CONVERT})": (
        *(".ico", ".cur", ".icns", ".tga", ".pcx", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".exr", ".hdr", ".dds"),
        *(".sgi", ".qoi", ".jxr", ".wdp", ".apng", ".flif", ".fits", ".dcm", ".xbm", ".xpm", ".bpg"),
    ),
    "video (use fer-edge analyse, or extract frames as JPEG or PNG)": VIDEO_SUFFIXES,
    "Parquet table (use fer-edge score)": (".parquet",),
    "archive (unpack it)": (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".rar", ".7z"),
}
_LEFT_OUT_SUFFIXES = {suffix: reason for reason, suffixes in _OTHER_KINDS.items() for suffix in suffixes}
# Files that are never opened to detect images without a suffix: data sets contain thousands of annotations.
_TEXT_SUFFIXES = frozenset({".csv", ".html", ".ini", ".json", ".log", ".md", ".txt", ".tsv", ".xml", ".yaml", ".yml"})
_THUMBNAIL_FOLDERS = frozenset(
    {"@eadir", ".@__thumb", ".thumb", ".thumbnails", ".thumbs", "_thumbnails", "_thumbs", "thumbnails", "thumbs"}
)
_SYSTEM_FOLDERS = frozenset(
    {
        *("__macosx", "#recycle", "@recycle", "$recycle.bin", "recycler", "#snapshot", "@recently-snapshot"),
        *("lost+found", "system volume information"),
    }
)
UNREADABLE = "unreadable folder"  # start of the reason
_BROKEN_LINKS = {errno.ENOENT: "broken link", errno.ENOTDIR: "broken link", errno.ELOOP: "link loop"}
_FATAL = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}  # errors of the process or machine, not of one folder


@dataclass(frozen=True)
class LeftOut:
    """File or folder that a listing does not contain."""

    path: Path
    reason: str  # for example "hidden folder"; the same text for every path with this reason


@dataclass(frozen=True)
class ImageListing:
    """Images below a folder, sorted by path."""

    paths: tuple[Path, ...]
    left_out: tuple[LeftOut, ...] = ()  # files and folders that `paths` does not contain, with the reasons
    folders: tuple[Path, ...] = ()  # folders directly below the folder that were entered or could not be read


def count_reasons(left_out: Iterable[LeftOut]) -> dict[str, int]:
    """Return the number of paths by reason."""
    return dict(Counter(entry.reason for entry in left_out))


def notes(left_out: Iterable[LeftOut]) -> list[str]:
    """Return one line per reason, `left out 3: broken link, such as faces/a.jpg`; empty if nothing was left out."""
    entries = tuple(left_out)
    first = {entry.reason: entry.path for entry in reversed(entries)}
    return [f"left out {count}: {reason}, such as {first[reason]}" for reason, count in count_reasons(entries).items()]


def find_images(path: Path) -> ImageListing:
    """List every image below a folder, or a single file without checking it.

    Raises:
        ImageError: Path that does not exist or cannot be read, or folder without images.
    """
    try:
        if not path.is_dir():
            path.stat()
            return ImageListing((path,))
    except (OSError, ValueError) as error:
        raise ImageError(_missing(path, error)) from error
    listing = walk_folder(path)
    if not listing.paths:
        raise ImageError(no_images(path, listing.left_out))
    return listing


def no_images(path: Path, left_out: Iterable[LeftOut]) -> str:
    """Return the message for a folder without images: the paths left out, or the expected suffixes."""
    reasons = "; ".join(notes(left_out))
    return f"no images below {path}; {reasons or 'expected files with suffix ' + ', '.join(sorted(SUFFIXES))}"


def list_folders(path: Path) -> tuple[Path, ...]:
    """List the folders directly below a folder, sorted, without hidden, thumbnail and system folders.

    Raises:
        ImageError: Folder that cannot be read.
    """
    _, names, _ = next(os.walk(path, onerror=_refuse))
    return tuple(path / name for name in sorted(names) if not _folder_reason(name))


def walk_folder(path: Path) -> ImageListing:
    """List every image below a folder, which may contain none.

    Links to folders are followed, and each folder is entered once: real ones first, so that a link never hides one.
    Hidden and thumbnail folders, recycle bins, broken links, unreadable folders and files of other formats are left
    out, each with its reason.

    Raises:
        ImageError: Folder that cannot be read.
    """
    reasons: dict[Path, str] = {}  # an empty text for an image
    folders: list[Path] = []
    entered: set[str] = set()
    waiting = deque([path])

    def leave_out(error: OSError) -> None:
        folder = Path(error.filename)
        if folder == path or error.errno in _FATAL:
            _refuse(error)
        folders.append(folder)
        reasons[folder] = f"{UNREADABLE} ({error.strerror})"

    while waiting:
        start = waiting.popleft()
        if start != path and _is_loop(start):
            reasons[start] = "link loop"
            continue
        for name, below, files in os.walk(start, onerror=leave_out):
            folder, target = Path(name), os.path.realpath(name)
            if target in entered:
                reasons[folder] = "folder reached twice through a link"
                below.clear()
                continue
            entered.add(target)
            folders.append(folder)
            reasons |= {folder / child: reason for child in below if (reason := _folder_reason(child))}
            below[:] = sorted(child for child in below if not _folder_reason(child))
            waiting.extend(folder / child for child in below if (folder / child).is_symlink())
            file_reasons = {folder / file: _file_reason(folder / file) for file in files}
            reasons |= {file: reason for file, reason in file_reasons.items() if reason is not None}
    ordered = sorted(reasons.items(), key=lambda entry: entry[0].parts)
    direct = (folder for folder in folders if folder.parent == path != folder)
    return ImageListing(
        tuple(file for file, reason in ordered if not reason),
        tuple(LeftOut(other, reason) for other, reason in ordered if reason),
        tuple(sorted(direct, key=lambda folder: folder.parts)),
    )


def _refuse(error: OSError) -> None:
    raise ImageError(f"cannot read {error.filename}: {error.strerror}") from error


def _folder_reason(name: str) -> str:
    """Return the reason for leaving out a folder of this name, or an empty text."""
    lower = name.lower()
    if lower in _THUMBNAIL_FOLDERS:
        return "thumbnail folder"
    if lower in _SYSTEM_FOLDERS:
        return "system folder"
    return "hidden folder" if name.startswith(".") else ""


def _file_reason(path: Path) -> str | None:
    """Return the reason for leaving out a file: an empty text for an image, None for a file to ignore."""
    hidden = path.name.startswith(".")
    suffix = (Path(f"x{path.name}") if hidden else path).suffix.lower()  # also of a file whose whole name is ".jpg"
    picture = suffix in SUFFIXES or suffix in _LEFT_OUT_SUFFIXES
    if hidden:
        return "hidden file" if picture else None
    if suffix in _TEXT_SUFFIXES:
        return None
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
    except OSError as error:  # of a link, or of any file in a folder that may be listed but not entered
        if suffix in SUFFIXES and not os.access(path.parent, os.X_OK):
            return ""  # reported when the image is decoded
        return _BROKEN_LINKS.get(error.errno or 0, f"unreadable link ({error.strerror})")
    if not regular:
        return "not a regular file" if picture else None
    if picture:
        return _LEFT_OUT_SUFFIXES.get(suffix, "")
    kind = describe_file(path)
    return f"{kind.split(' ', 1)[1]} without an image ending" if kind.endswith(" image") else None


def _is_loop(link: Path) -> bool:
    """Return whether a link leads to a folder that contains the link itself."""
    target, parent = os.path.realpath(link), os.path.realpath(link.parent)
    return parent == target or parent.startswith(target.rstrip(os.sep) + os.sep)


def _missing(path: Path, error: OSError | ValueError) -> str:
    """Return the message for a path that cannot be listed."""
    if isinstance(error, ValueError):  # for example an embedded null byte
        return f"cannot read {shown(str(path))}: {error}"
    if error.errno not in (errno.ENOENT, errno.ENOTDIR):
        return f"cannot read {error.filename or path}: {error.strerror}"
    if path.is_symlink():
        return f"{path} is a broken link: {os.path.realpath(path)} does not exist"
    return f"no file or folder at {path}"
