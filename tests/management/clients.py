"""Folders of PostgreSQL client programs that are old, slow or missing. All are real programs."""

from __future__ import annotations

from pathlib import Path

PROGRAMS = ("pg_dump", "pg_restore")


def client_folder(folder: Path, real: Path, **scripts: str) -> Path:
    """Create a folder with both client programs. The named ones run a shell script, the others are real.

    In a script ``$REAL`` is the folder of the real programs. The real program answers ``--version``, unless
    the script does.
    """
    folder.mkdir()
    for name in PROGRAMS:
        script = scripts.get(name, f'exec "$REAL/{name}" "$@"')
        answer = "" if "--version" in script else f'[ "$1" = --version ] && exec "$REAL/{name}" --version\n'
        path = folder / name
        path.write_text(f"#!/bin/sh\nREAL='{real}'\n{answer}{script}\n")
        path.chmod(0o755)
    return folder


def of_version(version: str) -> str:
    """Return a script that only answers ``--version``, with this version."""
    return f"echo 'a client (PostgreSQL) {version}'  # --version"


def waiting(started: Path) -> str:
    """Return a script that writes its process id to ``started`` and its arguments beside it, then waits."""
    return (
        f"""echo "$@" > '{started}.argv'\n"""
        f"""echo $$ > '{started}.new' && mv '{started}.new' '{started}' && exec sleep 600"""
    )


def gated(started: Path, gate: Path, name: str) -> str:
    """Return a script that runs the real program when ``gate`` has been removed."""
    return (
        f"""echo $$ > '{started}.new' && mv '{started}.new' '{started}'\n"""
        f"""while [ -e '{gate}' ]; do sleep 0.05; done\nexec "$REAL/{name}" "$@\""""
    )
