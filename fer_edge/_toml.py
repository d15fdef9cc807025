"""TOML parsing: `tomllib` of Python 3.11, or `tomli`."""

from __future__ import annotations

import sys
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


TOMLDecodeError = tomllib.TOMLDecodeError


def read_toml(text: str) -> dict[str, Any]:
    """Parse a TOML document."""
    return tomllib.loads(text)
