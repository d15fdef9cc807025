"""TOML parsing: `tomllib` of Python 3.11, or `tomli`."""

from __future__ import annotations

import sys
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TOMLDecodeError = tomllib.TOMLDecodeError
# Of a line. The parser's time grows with the square of the number of parts of a key: 20,000 take 5 seconds.
MAX_DOTS = 2000


def read_toml(text: str) -> dict[str, Any]:
    """Parse a TOML document.

    Raises:
        TOMLDecodeError: Other syntax, or a line with too many dots.
        RecursionError: Values nested too deeply.
    """
    for number, line in enumerate(text.splitlines(), 1):
        if line.count(".") > MAX_DOTS:
            raise TOMLDecodeError(f"line {number} has more than {MAX_DOTS} dots")
    return tomllib.loads(text)
