"""Conversion of data to typed values by msgspec, in one thread at a time.

msgspec 0.22 stores the description of a dataclass or `Struct` on the class before the description is complete. A second
thread that converts to the same class meanwhile reads null pointers, and the process crashes.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import msgspec

# Errors of `msgspec.json.decode` and `decode_json` for content of any kind.
JSON_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_lock = threading.RLock()
if hasattr(os, "register_at_fork"):  # a forked process gets a lock that is free
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def convert(data: object, kind: Any, strict: bool = True) -> Any:
    """Convert plain data, such as lists and dictionaries, to a type.

    Args:
        data: Plain data.
        kind: Type that msgspec supports.
        strict: Whether a text is refused where a number or truth value is expected.

    Raises:
        msgspec.ValidationError: The data do not fit the type.
    """
    with _lock:
        return msgspec.convert(data, kind, strict=strict)


def decode_json(content: bytes, kind: Any) -> Any:
    """Decode JSON to a type.

    Raises:
        msgspec.DecodeError: No JSON, or data that do not fit the type.
        UnicodeDecodeError: A text that is not UTF-8.
        RecursionError: Values nested too deeply.
    """
    with _lock:
        return msgspec.json.decode(content, type=kind)
