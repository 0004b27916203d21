"""Format rows as a text table, for a terminal or a log."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Sequence
from typing import Literal

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from igny8_backup.common.humanize import one_line

WIDTH = 140  # characters, where the output is not a terminal
GAP = 2  # characters between two columns
PIECES = (12, 6, 1)  # characters, to which long words are broken if a table does not fit otherwise
WHOLE = ("ID", "STORED", "KEY")  # columns whose values are never broken
LEAST_WIDTH, LEAST_ON_TERMINAL = 100, 80


def table(names: Sequence[str], rows: Sequence[Sequence[str]], *, width: int = 0) -> str:
    """Return ``rows`` as a text table with the headings ``names``.

    The table has at most ``width`` characters in a line; 0 means the width of the terminal. Ids are never
    broken into two lines, and words only if a line is too short for them. If the last column is ``KEY``, its
    lines can be longer: a terminal wraps a long key, and the key can still be copied as a whole. Sizes (the
    column ``STORED``) are aligned to the right. In a narrow table, empty columns are left out.
    """
    width = width or _width()
    shown = [index for index in range(len(names)) if width >= LEAST_WIDTH or any(row[index] for row in rows)]
    columns = {names[index]: [one_line(row[index]) for row in rows] for index in shown}
    if "KEY" in columns:
        width += max(map(len, columns["KEY"]), default=0)
    widths = _widths(columns, width)
    result = Table(box=None, pad_edge=False, header_style="")
    for name in columns:
        justify: Literal["left", "right"] = "right" if name == "STORED" else "left"
        result.add_column(name, overflow="fold", justify=justify, width=widths[name])
    for row in zip(*columns.values(), strict=True):
        result.add_row(*row)
    text = io.StringIO()
    Console(file=text, width=width, highlight=False, markup=False).print(result)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def _widths(columns: dict[str, list[str]], width: int) -> dict[str, int]:
    """Return the width of each column, so that all fit into ``width``, and few words are broken.

    The widest column is narrowed first, to its longest word. If that does not suffice, long words are broken.
    """
    texts = {name: [name, *values] for name, values in columns.items()}
    widths = {name: max(map(cell_len, values)) for name, values in texts.items()}
    words = {name: max(cell_len(word) for word in " ".join(values).split()) for name, values in texts.items()}
    room = width - GAP * (len(columns) - 1)
    for piece in (max(words.values()), *PIECES):
        while sum(widths.values()) > room:
            wide = [name for name in columns if name not in WHOLE and widths[name] > min(words[name], piece)]
            if not wide:
                break
            widths[max(wide, key=widths.__getitem__)] -= 1
    return widths


def _width() -> int:
    least = LEAST_ON_TERMINAL if sys.stdout and sys.stdout.isatty() else LEAST_WIDTH
    return max(shutil.get_terminal_size((WIDTH, 24)).columns, least)
