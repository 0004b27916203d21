"""Format rows as a text table, for a terminal or a log."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Sequence
from typing import Literal

from rich.console import Console
from rich.table import Table

from igny8_backup.common.humanize import one_line

WIDTH = 140  # characters, where the output is not a terminal
LEAST_WIDTH, LEAST_ON_TERMINAL = 100, 80


def table(names: Sequence[str], rows: Sequence[Sequence[str]], *, width: int = 0) -> str:
    """Return ``rows`` as a text table with the headings ``names``.

    The table has at most ``width`` characters in a line; 0 means the width of the terminal. Ids are never
    broken into two lines. Sizes (the column ``STORED``) are aligned to the right. In a narrow table, empty
    columns are left out.
    """
    width = width or _width()
    shown = [index for index in range(len(names)) if width >= LEAST_WIDTH or any(row[index] for row in rows)]
    result = Table(box=None, pad_edge=False, header_style="")
    for name in (names[index] for index in shown):
        justify: Literal["left", "right"] = "right" if name == "STORED" else "left"
        result.add_column(name, no_wrap=name == "ID", overflow="fold", justify=justify)
    for row in rows:
        result.add_row(*(one_line(row[index]) for index in shown))
    text = io.StringIO()
    Console(file=text, width=width, highlight=False, markup=False).print(result)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def _width() -> int:
    least = LEAST_ON_TERMINAL if sys.stdout and sys.stdout.isatty() else LEAST_WIDTH
    return max(shutil.get_terminal_size((WIDTH, 24)).columns, least)
