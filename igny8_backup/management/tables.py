"""Format rows as a text table, for a terminal or a log."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from typing import Literal

from rich.console import Console
from rich.table import Table

from igny8_backup.humanize import one_line

WIDTH = 140  # characters, where the output is not a terminal
LEAST_WIDTH = 100


def table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return ``rows`` as a text table with the headings ``names``, as wide as the terminal.

    Ids are never broken into two lines. Sizes (``STORED``) are aligned to the right.
    """
    result = Table(box=None, pad_edge=False, header_style="")
    for name in names:
        justify: Literal["left", "right"] = "right" if name == "STORED" else "left"
        result.add_column(name, no_wrap=name == "ID", overflow="fold", justify=justify)
    for row in rows:
        result.add_row(*map(one_line, row))
    text = io.StringIO()
    width = max(shutil.get_terminal_size((WIDTH, 24)).columns, LEAST_WIDTH)
    Console(file=text, width=width, highlight=False, markup=False).print(result)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())
