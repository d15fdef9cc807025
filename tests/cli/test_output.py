"""Tables show text as it is."""

from __future__ import annotations

import pytest

from fer_edge.cli.output import print_table


def test_brackets_are_text_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("", ("what",), [('pip install "fer-edge[train]"',)])
    assert 'pip install "fer-edge[train]"' in capsys.readouterr().out
