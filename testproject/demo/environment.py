"""The environment of the demo and of the commands it runs: nothing of the shell's but what is named here."""

from __future__ import annotations

import os
from collections.abc import Mapping

KEPT = {"HOME", "LANG", "LOGNAME", "PATH", "TERM", "TMPDIR", "TZ", "USER", "COLUMNS", "NO_COLOR"}


def kept(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what of the shell's environment a program may see: no PG*, DB_*, DJANGO_* or PYTHON*."""
    return {name: value for name, value in environ.items() if name in KEPT or name.startswith("LC_")}


def keep_only_what_the_demo_needs() -> None:
    """Make this process's own environment such: the settings of the demo never come from the shell."""
    clean = kept(os.environ)
    os.environ.clear()
    os.environ.update(clean)
