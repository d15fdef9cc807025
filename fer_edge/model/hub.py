"""Files of the Hugging Face Hub and other hosts, from the local cache or by download.

The Hub's libraries retry for a minute and print dozens of lines if there is no network. They are therefore called only
after the host has answered. Cached files are read without the network.
"""

from __future__ import annotations

import http.client
import logging
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fer_edge._text import one_line
from fer_edge.errors import CheckpointError

TIMEOUT = 10.0  # seconds to wait for a host's answer
FIRST_WAIT = 2.0  # seconds before the first retry; the wait doubles with each further retry
logger = logging.getLogger("fer_edge")
BUSY = 429  # HTTP status "too many requests"
ADVICE = (
    "make the text features on a machine with a network (fer-edge checkpoint text-features -o text.safetensors) and "
    "pass that file as --text-features, or pass the weights as a local file with --text-weights"
)


def hub_file(repository: str, names: Sequence[str], what: str, retries: int = 0) -> Path:
    """Return a file of a Hub repository from the cache, or download it.

    Args:
        repository: Name of the repository: "timm/vit_base_patch32_clip_224.openai".
        names: Possible names of the file, the preferred first.
        what: Description of the file for messages: "weights 'openai' of ViT-B-32".
        retries: Number of further attempts to connect, 0 by default.

    Raises:
        CheckpointError: A file that is not cached, and an unreachable Hub or a repository without it.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    cached = [path for name in names if isinstance(path := try_to_load_from_cache(repository, name), str)]
    if cached:
        return Path(cached[0])
    connect_to_hub(repository, names[0], what, retries)
    for name in names:
        try:
            with quiet_libraries():
                return Path(hf_hub_download(repository, name))
        except Exception as error:  # the cause may be the connection, the repository or the disk
            absent = isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError)
            if not absent or name == names[-1]:
                reason = one_line(str(error), 160)
                raise CheckpointError(f"{what} cannot be downloaded from {repository} ({reason}); {ADVICE}") from error
    raise CheckpointError(f"{what} cannot be downloaded from {repository}: no file name")


def connect_to_hub(repository: str, name: str, what: str, retries: int = 0) -> None:
    """Check that the Hub can be reached, by a request for a file's header; see `hub_file` for arguments and errors."""
    from huggingface_hub import constants, hf_hub_url

    place = f"{name} of {constants.ENDPOINT}/{repository}"
    if constants.HF_HUB_OFFLINE:
        raise CheckpointError(
            f"{what} ({place}) are not in the cache, and HF_HUB_OFFLINE is set: unset it, or {ADVICE}"
        )
    connect(hf_hub_url(repository, name), f"{what} ({place})", retries)


def connect(url: str, what: str, retries: int = 0) -> None:
    """Check that a host can be reached, by a request for a file's header.

    Args:
        url: Address of the file.
        what: Description of the file for messages.
        retries: Number of further attempts to connect, 0 by default.

    Raises:
        CheckpointError: Unreachable host.
    """
    for attempt in range(retries + 1):
        reason = _connection_error(url)
        if reason is None:
            logger.info("downloading %s", what)
            return
        if attempt < retries:
            time.sleep(FIRST_WAIT * 2**attempt)
    raise CheckpointError(f"{what} are not in the cache and the host cannot be reached ({reason}): {ADVICE}")


def _connection_error(url: str) -> str | None:
    """Return why a host cannot be reached; None if it answers, even if the file is missing or requires a login."""
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
        if isinstance(error.reason, ssl.SSLError):  # the Hub's library has its own certificates
            return None
        return one_line(str(getattr(error.reason, "strerror", None) or error.reason), 120)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return one_line(str(error) or type(error).__name__, 120)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Suppress log lines of open_clip and the Hub's libraries, and their progress bars if stderr is not a terminal."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    loggers = [logging.getLogger(name) for name in ("huggingface_hub", "transformers")]
    levels = [logger.level for logger in loggers]
    root, handler = logging.getLogger(), logging.NullHandler()
    bars = not are_progress_bars_disabled() and (sys.stderr is None or not sys.stderr.isatty())
    root.addHandler(handler)  # without a handler, logging.warning would add one that prints to stderr permanently
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
