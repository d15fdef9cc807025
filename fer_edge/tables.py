"""Text tables: layout within a width, and rendering with Rich."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO

from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.table import Table as RichTable

from fer_edge._text import printable
from fer_edge.results import Table

LEAST_NAME = 12  # cells that a shortened name keeps
LEAST_TEXT = 20  # cells of a column of sentences, which wrap
FRAME = 3  # cells that a column takes beside its content, for frame and padding


def text_of_table(table: Table, width: int) -> str:
    """Render a table as text, figures to the right; headers and sentences wrap, long names lose their middle.

    Args:
        table: Title, columns and rows; control characters are escaped.
        width: Number of columns to fit into. A table of many figures may be wider: figures are never cut.
    """
    rows, widths = fitted(table.columns, [[printable(str(value)) for value in row] for row in table.rows], width)
    drawn = RichTable()
    for index, column in enumerate(table.columns):
        numeric = bool(rows) and all(_is_number(row[index]) for row in rows)
        drawn.add_column(column, justify="right" if numeric else "left", overflow="fold", width=widths[index])
    for row in rows:
        drawn.add_row(*row)
    needed = sum(widths) + FRAME * len(table.columns) + 1
    console = Console(file=StringIO(), width=max(width, needed), markup=False, highlight=False)
    with console.capture() as capture:
        console.print(drawn)
    title = f"{printable(table.title)}\n" if table.title else ""
    return title + capture.get().rstrip("\n")


def fitted(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> tuple[list[list[str]], list[int]]:
    """Cells and widths of a table that fits into `width` cells, as far as figures allow.

    Headers wrap first, then sentences; names, which have no spaces, are then shortened in the middle. Figures and
    short names are never cut.

    Args:
        columns: Headers.
        rows: Texts, one for each column.
        width: Cells of the terminal.

    Returns:
        The rows with names shortened, and the width of each column's content.
    """
    content = [max((cell_len(row[index]) for row in rows), default=0) for index in range(len(columns))]
    headers = [cell_len(name) for name in columns]
    widths = [max(pair) for pair in zip(content, headers, strict=True)]
    room = width - FRAME * len(columns) - 1
    if sum(widths) <= room:
        return [list(row) for row in rows], widths
    words = [max(map(cell_len, name.split()), default=0) for name in columns]
    widths = [max(pair) for pair in zip(content, words, strict=True)]
    texts = [index for index in range(len(columns)) if any(" " in row[index].strip() for row in rows)]
    names = [index for index in range(len(columns)) if index not in texts]
    _narrow(widths, room, {index: max(LEAST_TEXT, words[index]) for index in texts})
    _narrow(widths, room, {index: max(LEAST_NAME, words[index]) for index in names})
    _narrow(widths, room, {index: max(words[index], _longest_word(rows, index)) for index in texts})
    cells = [
        [shortened(text, widths[index]) if index in names else text for index, text in enumerate(row)] for row in rows
    ]
    return cells, widths


def shortened(name: str, width: int) -> str:
    """A name of at most `width` cells; what is left out in its middle is an ellipsis."""
    if cell_len(name) <= width:
        return name
    head = (width - 1) // 2
    tail = width - 1 - head
    start = chop_cells(name, head)[0] if head > 0 else ""
    end = chop_cells(name[::-1], tail)[0][::-1] if tail > 0 else ""
    return f"{start}…{end}"


def _longest_word(rows: Sequence[Sequence[str]], column: int) -> int:
    return max(cell_len(word) for row in rows for word in row[column].split() or [""])


def _narrow(widths: list[int], room: int, least: dict[int, int]) -> None:
    """Take cells from the widest of some columns, one at a time, until all columns fit."""
    while sum(widths) > room:
        open_ = [index for index, smallest in least.items() if widths[index] > smallest]
        if not open_:
            return
        widths[max(open_, key=lambda index: widths[index])] -= 1


def _is_number(value: str) -> bool:
    if value == "-":  # a missing figure
        return True
    try:
        float(value.rstrip(" %"))
    except ValueError:
        return False
    return True
