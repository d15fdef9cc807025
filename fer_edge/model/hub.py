"""Files of the Hugging Face Hub and of other hosts: out of the local cache, or downloaded after one attempt to connect.

The libraries below retry for a minute and print dozens of lines where there is no network. They are called only once a
host has answered; what is in the cache is read without the network.
"""

from __future__ import annotations

import http.client
import logging
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fer_edge._text import one_line
from fer_edge.errors import CheckpointError

TIMEOUT = 10.0  # seconds for a host to answer
FIRST_WAIT = 2.0  # seconds before the first retry; each further wait is twice as long
BUSY = 429  # HTTP status
ADVICE = (
    "make the text features where there is a network (fer-edge text-features -o text.safetensors) and give that file "
    "as --text-features, or give the weights as a local file with --text-weights"
)


@dataclass(frozen=True)
class Download:
    """How files that are not in the cache are fetched."""

    retries: int = 0  # further attempts to connect
    note: Callable[[str], None] | None = None  # called with a line before a download begins


def cached_file(repository: str, names: Sequence[str]) -> Path | None:
    """The first of the named files of a Hub repository that is in the local cache."""
    from huggingface_hub import try_to_load_from_cache

    paths = [try_to_load_from_cache(repository, name) for name in names]
    return next((Path(path) for path in paths if isinstance(path, str)), None)


def hub_file(repository: str, names: Sequence[str], what: str, download: Download) -> Path:
    """A file of a Hub repository, out of the cache or downloaded into it.

    Args:
        repository: Its name: "timm/vit_base_patch32_clip_224.openai".
        names: Names of the file, the preferred first; a repository has one or more of them.
        what: What it holds, for messages: "weights 'openai' of ViT-B-32".
        download: How to fetch it.

    Raises:
        CheckpointError: It is not in the cache, and the Hub cannot be reached or does not have it.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    path = cached_file(repository, names)
    if path is not None:
        return path
    connect_to_hub(repository, names[0], what, download)
    for name in names:
        try:
            with quiet_libraries():
                return Path(hf_hub_download(repository, name))
        except Exception as error:  # of the connection, the repository or the disk
            absent = isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError)
            if not absent or name == names[-1]:
                reason = one_line(str(error), 160)
                raise CheckpointError(f"{what} cannot be downloaded from {repository} ({reason}); {ADVICE}") from error
    raise CheckpointError(f"{what} cannot be downloaded from {repository}: no file was named")


def connect_to_hub(repository: str, name: str, what: str, download: Download) -> None:
    """Ask the Hub for a file's header, to see whether it can be reached; arguments and errors as of `hub_file`."""
    from huggingface_hub import constants, hf_hub_url

    place = f"{name} of {constants.ENDPOINT}/{repository}"
    if constants.HF_HUB_OFFLINE:
        raise CheckpointError(
            f"{what} ({place}) are not in the cache, and HF_HUB_OFFLINE is set: unset it, or {ADVICE}"
        )
    connect(hf_hub_url(repository, name), f"{what} ({place})", download)


def connect(url: str, what: str, download: Download) -> None:
    """Ask a host for a file's header.

    Raises:
        CheckpointError: It cannot be reached.
    """
    for attempt in range(download.retries + 1):
        reason = _refusal(url)
        if reason is None:
            if download.note is not None:
                download.note(f"downloading {what}")
            return
        if attempt < download.retries:
            time.sleep(FIRST_WAIT * 2**attempt)
    raise CheckpointError(f"{what} are not in the cache and the host cannot be reached ({reason}): {ADVICE}")


def _refusal(url: str) -> str | None:
    """Why a host does not answer, or None if it does, be it that the file is missing or needs a login."""
    request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "fer-edge"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT):
            return None
    except urllib.error.HTTPError as error:
        return (
            f"HTTP status {error.code}"
            if error.code >= http.client.INTERNAL_SERVER_ERROR or error.code == BUSY
            else None
        )
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLError):  # the Hub's library brings certificates of its own
            return None
        return one_line(str(getattr(error.reason, "strerror", None) or error.reason), 120)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return one_line(str(error) or type(error).__name__, 120)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep log lines of open_clip and of the Hub's libraries from stderr, and bars where it is no terminal."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    loggers = [logging.getLogger(name) for name in ("huggingface_hub", "transformers")]
    levels = [logger.level for logger in loggers]
    root, handler = logging.getLogger(), logging.NullHandler()
    bars = not are_progress_bars_disabled() and (sys.stderr is None or not sys.stderr.isatty())
    root.addHandler(handler)  # without a handler, logging.warning would add one that prints, for good
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    if bars:
        disable_progress_bars()
    try:
        yield
    finally:
        root.removeHandler(handler)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if bars:
            enable_progress_bars()
