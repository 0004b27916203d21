"""The environment of the demo and of its commands, which inherits few variables of the shell."""

from __future__ import annotations

import os
from collections.abc import Mapping

KEPT = {"HOME", "LANG", "LOGNAME", "PATH", "TERM", "TMPDIR", "TZ", "USER", "COLUMNS", "NO_COLOR"}


def kept(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the shell that programs inherit: no PG*, DB_*, DJANGO_* or PYTHON*."""
    return {name: value for name, value in environ.items() if name in KEPT or name.startswith("LC_")}


def keep_only_what_the_demo_needs() -> None:
    """Remove all other variables from this process, so that no setting of the demo comes from the shell."""
    clean = kept(os.environ)
    os.environ.clear()
    os.environ.update(clean)
