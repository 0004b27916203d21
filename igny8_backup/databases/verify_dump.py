"""A dump, read to its end as a restore would, and thrown away."""

from __future__ import annotations

import os
import signal
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from igny8_backup.databases.postgresql.client_access import client_environment
from igny8_backup.databases.postgresql.clients import find_client, major_of, require_major
from igny8_backup.errors import FilesError, IntegrityError, ToolError
from igny8_backup.formats.manifest import DatabasePart
from igny8_backup.streams import Blocks
from igny8_backup.streams.pipeline import write_file
from igny8_backup.streams.process import feed_process


def read_dump(blocks: Blocks, part: DatabasePart, *, bin_dir: Path | None, scratch: Path) -> None:
    """Reads the dump of ``part``: with ``pg_restore``, which turns all of it into SQL for nobody.

    Needs no server. An SQLite file (development only) lies in ``scratch`` meanwhile. Raises
    ``IntegrityError`` for a dump that cannot be restored from, ``ToolMissingError``, ``ToolTooOldError``,
    ``ToolError`` where ``pg_restore`` could not run or was killed.
    """
    with closing(blocks):
        if part.engine == "sqlite":
            _read_sqlite(blocks, scratch)
            return
        major = major_of(part.dump_version)
        program = find_client("pg_restore", server_major=major, bin_dir=bin_dir)
        require_major(program, major, reason=f"the dump was made by version {part.dump_version}")
        try:
            feed_process([str(program.path), f"--file={os.devnull}"], blocks, env=client_environment())
        except ToolError as error:
            if error.exit_status_of_tool in (None, -signal.SIGKILL, -signal.SIGTERM):
                raise  # by the system, mostly short of memory: it tells nothing about the dump
            raise IntegrityError(f"pg_restore cannot read the dump: {error}") from None


def _read_sqlite(blocks: Blocks, scratch: Path) -> None:
    try:
        with tempfile.NamedTemporaryFile(dir=scratch, prefix="igny8_backup-") as file:
            write_file(blocks, file.fileno())
            # Read only and unchanging: no journal is made beside it.
            uri = f"{Path(file.name).as_uri()}?mode=ro&immutable=1"
            with closing(sqlite3.connect(uri, uri=True)) as session:
                (answer,) = session.execute("PRAGMA integrity_check").fetchone()
    except sqlite3.Error as error:
        raise IntegrityError(f"SQLite cannot read the file: {error}.") from None
    except OSError as error:
        raise FilesError(
            f"No scratch file can be made in {scratch}: {error.strerror}.",
            hint="Point IGNY8_BACKUP['SCRATCH_DIR'] at a folder that may be written.",
        ) from None
    if answer != "ok":
        raise IntegrityError(f"SQLite finds damage in the file: {answer}.")
