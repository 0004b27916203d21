"""PostgreSQL clients that are not what one would wish: old ones, slow ones, none. All are real programs."""

from __future__ import annotations

from pathlib import Path

PROGRAMS = ("pg_dump", "pg_restore")


def client_folder(folder: Path, real: Path, **scripts: str) -> Path:
    """A folder with both programs: those named run their shell script, the others are the real ones.

    In a script ``$REAL`` is the folder of the real programs. ``--version`` is answered by the real one, but
    for a script that answers it itself.
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
    """A program that says it is of this version, and does nothing else. ``--version`` is all it knows."""
    return f"echo 'a client (PostgreSQL) {version}'  # --version"


def waiting(started: Path) -> str:
    """A program that writes its arguments beside ``started``, its process id to it, and waits for minutes."""
    return (
        f"""echo "$@" > '{started}.argv'\n"""
        f"""echo $$ > '{started}.new' && mv '{started}.new' '{started}' && exec sleep 600"""
    )


def gated(started: Path, gate: Path, name: str) -> str:
    """The real program, which begins its work when ``gate`` is gone."""
    return (
        f"""echo $$ > '{started}.new' && mv '{started}.new' '{started}'\n"""
        f"""while [ -e '{gate}' ]; do sleep 0.05; done\nexec "$REAL/{name}" "$@\""""
    )
