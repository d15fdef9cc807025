"""Text from files, engines and users, made fit for one line of a terminal or log."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# C0 and C1 controls, bidirectional overrides, line and paragraph separators, lone surrogates.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Escape every character that a terminal would obey or cannot encode: `\n` for a newline, `\x1b` for escape."""
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def one_line(text: str, limit: int = 300) -> str:
    """Join the lines of another library's message, collapse white space, escape controls and cut it to `limit`.

    Args:
        text: Message of an engine, of Pillow, of torch.
        limit: Largest number of characters, 300 by default; a longer text ends in "...".
    """
    without_colours = re.sub("\x1b\\[[0-9;?]*[ -/]*[@-~]", "", text)
    joined = printable(" ".join(without_colours.split()))
    return joined if len(joined) <= limit else f"{joined[: limit - 3]}..."


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Hint for a misspelt name, `; did you mean openvino?`, or an empty text where no choice is close.

    The comparison ignores case.
    """
    by_lower = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(name.lower()[:80], list(by_lower), n=1)
    return f"; did you mean {by_lower[near[0]]}?" if near else ""
