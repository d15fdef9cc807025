"""Text from files, engines and users, made safe for one line of a terminal or log."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# C0 and C1 controls, line and paragraph separators, bidirectional marks and overrides, lone surrogates.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Escape every character that a terminal interprets or cannot encode: `\n` for a newline, `\x1b` for escape."""
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def one_line(text: str, limit: int = 300) -> str:
    """Join the lines of a library's message, collapse white space, escape controls and truncate it.

    Args:
        text: Message of an engine, of Pillow or of torch.
        limit: Largest number of characters, 300 by default; a truncated text ends in "...".
    """
    without_colours = re.sub("\x1b\\[[0-9;?]*[ -/]*[@-~]", "", text)
    joined = printable(" ".join(without_colours.split()))
    return joined if len(joined) <= limit else f"{joined[: limit - 3]}..."


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return `; did you mean openvino?` for a misspelt name, or an empty text without a close choice.

    The comparison ignores case.
    """
    by_lower = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(name.lower()[:80], list(by_lower), n=1)
    return f"; did you mean {by_lower[near[0]]}?" if near else ""
