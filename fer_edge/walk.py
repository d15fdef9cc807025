"""Listing of the images below a folder, with the reason for every file or folder left out.

All commands and data sets use this listing.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import ImageError, shown
from fer_edge.file_kind import describe_file

SUFFIXES = frozenset(
    {".avif", ".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"}
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
    "video (extract frames as JPEG or PNG)": (
        *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".wmv", ".flv", ".mpg", ".mpeg", ".mts", ".m2ts", ".3gp"),
        ".ogv",
    ),
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
_FATAL = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}  # errors of the process or machine, not of one folder


@dataclass(frozen=True)
class LeftOut:
    """File or folder that a listing does not contain."""

    path: Path
    reason: str  # for example "hidden folder"; the same text for every path with this reason


@dataclass(frozen=True)
class ImageListing:
    """Images below a folder.

    Attributes:
        paths: Image files, sorted by path.
        left_out: Files and folders that `paths` does not contain, with the reasons.
        folders: Folders directly below the folder that were entered or could not be read.
    """

    paths: tuple[Path, ...]
    left_out: tuple[LeftOut, ...] = ()
    folders: tuple[Path, ...] = ()

    def summary(self) -> list[str]:
        """Return one line per reason: number of paths, reason, first path; empty if nothing was left out."""
        return notes(self.left_out)

    def __repr__(self) -> str:
        first = f", first {self.paths[0]}" if self.paths else ""
        return f"<ImageListing of {len(self.paths)} images{first}; {len(self.left_out)} paths left out>"


def notes(left_out: Iterable[LeftOut]) -> list[str]:
    """Return one line per reason, `left out 3: broken link, such as faces/a.jpg`; empty if nothing was left out."""
    first: dict[str, Path] = {}
    entries = tuple(left_out)
    for entry in entries:
        first.setdefault(entry.reason, entry.path)
    counts = count_reasons(entries)
    return [f"left out {counts[reason]}: {reason}, such as {path}" for reason, path in first.items()]


def count_reasons(left_out: Iterable[LeftOut]) -> dict[str, int]:
    """Return the number of paths by reason."""
    counts: dict[str, int] = {}
    for entry in left_out:
        counts[entry.reason] = counts.get(entry.reason, 0) + 1
    return counts


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


def walk_folder(path: Path) -> ImageListing:
    """List every image below a folder, which may contain none.

    Links to folders are followed, and each folder is entered once. Hidden and thumbnail folders, recycle bins, broken
    links, unreadable folders and files of other formats are left out, each with its reason.

    Raises:
        ImageError: Folder that cannot be read.
    """
    walk = _Walk(path)
    try:
        walk.run()
    except OSError as error:
        raise ImageError(f"cannot read {error.filename or path}: {error.strerror}") from error
    return ImageListing(
        tuple(sorted(walk.images, key=lambda image: image.parts)),
        tuple(sorted(walk.left_out, key=lambda entry: entry.path.parts)),
        tuple(sorted(walk.folders, key=lambda folder: folder.parts)),
    )


def list_folders(path: Path) -> tuple[Path, ...]:
    """List the folders directly below a folder, sorted, without hidden, thumbnail and system folders.

    Raises:
        ImageError: Folder that cannot be read.
    """
    try:
        with os.scandir(path) as entries:
            names = [entry.name for entry in entries if _is_folder(entry) and not _folder_reason(entry.name)]
    except OSError as error:
        raise ImageError(f"cannot read {error.filename or path}: {error.strerror}") from error
    return tuple(path / name for name in sorted(names))


class _Walk:
    """State of one walk. Real folders are entered before linked ones, so that a link never hides a real folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.images: list[Path] = []
        self.left_out: list[LeftOut] = []
        self.folders: list[Path] = []
        self._links: deque[Path] = deque()
        self._entered: set[tuple[int, int] | str] = set()

    def run(self) -> None:
        """Fill the lists.

        Raises:
            OSError: Root that cannot be read, or exhausted file descriptors or memory.
        """
        self._descend(self.root)
        while self._links:
            link = self._links.popleft()
            if _is_loop(link):
                self._leave_out(link, "link loop")
            else:
                self._descend(link)

    def _descend(self, start: Path) -> None:
        """List a folder and its real subfolders."""
        waiting = [start]
        while waiting:
            folder = waiting.pop()
            try:
                identity = _identity(folder)
                if identity in self._entered:
                    self._leave_out(folder, "folder reached twice through a link")
                    continue
                self._entered.add(identity)
                with os.scandir(folder) as entries:
                    children = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                if folder == self.root or error.errno in _FATAL:
                    raise
                self._note_folder(folder)
                self._leave_out(folder, f"{UNREADABLE} ({error.strerror})")
                continue
            self._note_folder(folder)
            waiting += [folder / entry.name for entry in reversed(children) if self._sort_entry(entry)]

    def _sort_entry(self, entry: os.DirEntry[str]) -> bool:
        """Return True for a folder to enter now; add any other entry to the lists."""
        path = Path(entry.path)
        try:
            if entry.is_dir():
                if reason := _folder_reason(entry.name):
                    self._leave_out(path, reason)
                elif entry.is_symlink():
                    self._links.append(path)
                else:
                    return True
            elif entry.is_file():
                self._sort_file(path)
            elif reason := _other_reason(entry):
                self._leave_out(path, reason)
        except OSError as error:  # from the target of a link
            self._leave_out(path, "link loop" if error.errno == errno.ELOOP else f"unreadable link ({error.strerror})")
        return False

    def _sort_file(self, path: Path) -> None:
        name = path.name
        suffix = _suffix(name)
        picture = suffix in SUFFIXES or suffix in _LEFT_OUT_SUFFIXES
        if name.startswith("."):
            if picture:
                self._leave_out(path, "hidden file")
        elif suffix in SUFFIXES:
            self.images.append(path)
        elif picture:
            self._leave_out(path, _LEFT_OUT_SUFFIXES[suffix])
        elif suffix not in _TEXT_SUFFIXES:
            kind = describe_file(path)
            if kind.endswith(" image"):
                self._leave_out(path, f"{kind.split(' ', 1)[1]} without an image ending")

    def _note_folder(self, folder: Path) -> None:
        if folder.parent == self.root and folder != self.root:
            self.folders.append(folder)

    def _leave_out(self, path: Path, reason: str) -> None:
        self.left_out.append(LeftOut(path, reason))


def _suffix(name: str) -> str:
    """Return the suffix in lower case, `.jpg`; also for a file whose whole name is `.jpg`."""
    return Path(f"x{name}").suffix.lower()


def _folder_reason(name: str) -> str:
    """Return the reason for leaving out a folder of this name, or an empty text."""
    lower = name.lower()
    if lower in _THUMBNAIL_FOLDERS:
        return "thumbnail folder"
    if lower in _SYSTEM_FOLDERS:
        return "system folder"
    return "hidden folder" if name.startswith(".") else ""


def _other_reason(entry: os.DirEntry[str]) -> str:
    """Return the reason for leaving out an entry that is neither folder nor regular file; empty for other files."""
    suffix = _suffix(entry.name)
    picture = suffix in SUFFIXES or suffix in _LEFT_OUT_SUFFIXES
    if entry.name.startswith("."):
        return "hidden file" if picture else ""
    if entry.is_symlink() and not Path(entry.path).exists():
        return "" if suffix in _TEXT_SUFFIXES else "broken link"
    return "not a regular file" if picture else ""


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link loop, or a link into an unreadable folder
        return False


def _identity(folder: Path) -> tuple[int, int] | str:
    """Return a value that is equal for all paths of the same folder."""
    status = folder.stat()
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(folder)


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
