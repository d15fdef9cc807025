"""Text tables: layout within a width, and rendering with Rich."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO

from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.table import Table as RichTable

from fer_edge._text import printable
from fer_edge.results import Table

MIN_NAME = 12  # cells of a shortened name
MIN_TEXT = 20  # cells of a column of sentences, which wrap
FRAME = 3  # cells of a column's frame and padding


def text_of_table(table: Table, width: int) -> str:
    """Render a table as text.

    Figures are right-aligned, headers and sentences wrap, and the middle of long names is omitted.

    Args:
        table: Title, columns and rows; control characters are escaped.
        width: Terminal cells to fit into. A table of many figures may be wider, since figures are never truncated.
    """
    rows, widths = fit_columns(table.columns, [[printable(str(value)) for value in row] for row in table.rows], width)
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


def fit_columns(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> tuple[list[list[str]], list[int]]:
    """Fit the columns of a table into a width.

    Headers wrap first, then sentences; names, which have no spaces, are then shortened in the middle. Figures and
    short names are never truncated, so that the table may stay wider than `width`.

    Args:
        columns: Headers.
        rows: Texts, one per column.
        width: Terminal cells.

    Returns:
        The rows with shortened names, and the width of each column's content in cells.
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
    _narrow(widths, room, {index: max(MIN_TEXT, words[index]) for index in texts})
    _narrow(widths, room, {index: max(MIN_NAME, words[index]) for index in names})
    _narrow(widths, room, {index: max(words[index], _longest_word(rows, index)) for index in texts})
    cells = [
        [shorten(text, widths[index]) if index in names else text for index, text in enumerate(row)] for row in rows
    ]
    return cells, widths


def shorten(name: str, width: int) -> str:
    """Shorten a name to `width` cells, with an ellipsis in its middle."""
    if cell_len(name) <= width:
        return name
    head = (width - 1) // 2
    tail = width - 1 - head
    start = chop_cells(name, head)[0] if head > 0 else ""
    end = chop_cells(name[::-1], tail)[0][::-1] if tail > 0 else ""
    return f"{start}…{end}"


def _longest_word(rows: Sequence[Sequence[str]], column: int) -> int:
    return max(cell_len(word) for row in rows for word in row[column].split() or [""])


def _narrow(widths: list[int], room: int, minimum: dict[int, int]) -> None:
    """Narrow the widest of some columns, one cell at a time, until all columns fit."""
    while sum(widths) > room:
        adjustable = [index for index, smallest in minimum.items() if widths[index] > smallest]
        if not adjustable:
            return
        widths[max(adjustable, key=lambda index: widths[index])] -= 1


def _is_number(value: str) -> bool:
    if value == "-":  # a missing figure
        return True
    try:
        float(value.rstrip(" %"))
    except ValueError:
        return False
    return True
