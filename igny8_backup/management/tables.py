"""Tables as text, for a terminal or a log."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

WIDTH = 140  # where there is no terminal to ask
LEAST = 100


def table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns with these headings, as wide as the terminal; ids are never broken, sizes stand right."""
    made = Table(box=None, pad_edge=False, header_style="")
    for name in names:
        made.add_column(
            name, no_wrap=name == "ID", overflow="fold", justify="right" if name == "STORED" else "left"
        )
    for row in rows:
        made.add_row(*row)
    text = io.StringIO()
    width = max(shutil.get_terminal_size((WIDTH, 24)).columns, LEAST)
    Console(file=text, width=width, highlight=False, markup=False).print(made)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())
