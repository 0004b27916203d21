"""Format rows as a text table, for a terminal or a log."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

WIDTH = 140  # of the output where it is not a terminal
LEAST = 100


def table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table with these headings, as wide as the terminal. Ids are never broken; sizes are aligned to
    the right."""
    result = Table(box=None, pad_edge=False, header_style="")
    for name in names:
        result.add_column(
            name, no_wrap=name == "ID", overflow="fold", justify="right" if name == "STORED" else "left"
        )
    for row in rows:
        result.add_row(*row)
    text = io.StringIO()
    width = max(shutil.get_terminal_size((WIDTH, 24)).columns, LEAST)
    Console(file=text, width=width, highlight=False, markup=False).print(result)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())
