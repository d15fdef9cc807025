"""TOML parsing."""

from __future__ import annotations

import pytest

from fer_edge._toml import MAX_DOTS, TOMLDecodeError, read_toml


def test_key_with_too_many_parts_is_refused_before_it_is_parsed() -> None:
    key = ".".join("a" * (MAX_DOTS + 2))
    with pytest.raises(TOMLDecodeError, match="line 2 has more than 2000 dots"):
        read_toml(f"b = 1.5\n{key} = 1\n")
    assert read_toml("x.y = 1.5\n") == {"x": {"y": 1.5}}
