"""Tables on terminals and in pipes: wrapping and shortening."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from fer_edge.cli.output import print_line, print_table
from fer_edge.results import Table
from fer_edge.tables import FRAME, MIN_NAME, fit_columns, shorten

NAME = "stem.blocks.0.conv1/Conv_of_a_very_long_name_that_nobody_would_type_" + "x" * 60


def test_pipe_gets_unwrapped_rows(capsys: pytest.CaptureFixture[str]) -> None:
    reason = "a sentence that is longer than eighty columns, " * 5
    print_table(Table("a title " * 20, ("layer", "why not"), ((NAME, reason),)))
    print_line(f"wrote {NAME} {reason}\x1b[2K")
    out = capsys.readouterr().out
    assert "a title " * 20 in out and f"{NAME} │ {reason}" in out
    assert out.endswith(f"wrote {NAME} {reason}\\x1b[2K\n")


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals of POSIX")
def test_terminal_gets_fitting_tables(tmp_path: Path) -> None:
    code = (
        "from fer_edge.cli.output import print_table\n"
        "from fer_edge.results import Table\n"
        f"print_table(Table('', ('layer', 'kernel', 'us'), (({NAME!r}, 'jit_avx512_core', '12'),)))\n"
        "print_table(Table('', ('engine', 'why not'), (('tensorrt-rtx', 'no NVIDIA driver here, ' * 9),)))"
    )
    lines = in_terminal([sys.executable, "-c", code], 80)
    assert max(map(cell_len, lines)) <= 80
    row = next(line for line in lines if "jit_avx512_core" in line)
    assert "stem.blocks" in row and "…" in row and "xxx" in row and "12" in row
    assert any("tensorrt-rtx" in line for line in lines)


def in_terminal(command: list[str], columns: int) -> list[str]:
    """Return the lines that a command prints on a terminal with a number of columns, without colours."""
    import pty

    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(command[0], command, {**os.environ, "COLUMNS": str(columns), "TERM": "dumb"})
    output = b""
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:
            break
        if not chunk:
            break
        output += chunk
    os.waitpid(pid, 0)
    return output.decode().replace("\r\n", "\n").splitlines()


@given(
    st.text(st.characters(min_codepoint=32, max_codepoint=0x3100, exclude_categories=["Cc", "Cs", "Mn"])),
    st.integers(1, 40),
)
def test_shortened_name_keeps_both_ends(name: str, width: int) -> None:
    short = shorten(name, width)
    assert cell_len(short) <= max(width, 1)
    if cell_len(name) > width and name.isascii() and width > 2:
        assert short[0] == name[0] and short[-1] == name[-1] and "…" in short


@given(
    st.lists(
        st.tuples(st.text("abc./", max_size=60), st.text("0123456789", min_size=1, max_size=6)), min_size=1, max_size=5
    ),
    st.integers(30, 120),
)
def test_figures_are_never_truncated(rows: list[tuple[str, str]], width: int) -> None:
    cells, widths = fit_columns(("a layer", "us"), rows, width)
    assert [row[1] for row in cells] == [row[1] for row in rows]
    assert sum(widths) + FRAME * 2 + 1 <= max(width, MIN_NAME + 6 + FRAME * 2 + 1)
