"""Verify that a dump can be read to its end, without a server."""

from __future__ import annotations

import os
import signal
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from igny8_backup.databases.postgresql.client_access import client_environment
from igny8_backup.databases.postgresql.clients import find_client, major_of, require_major
from igny8_backup.databases.postgresql.known_holes import vulnerable_clients
from igny8_backup.databases.values import VulnerableProgram
from igny8_backup.errors import FilesError, IntegrityError, ToolError
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.streams import Blocks
from igny8_backup.streams.account import restore_account
from igny8_backup.streams.pipeline import write_file
from igny8_backup.streams.process import feed_process


def read_dump(blocks: Blocks, part: DatabasePart, *, bin_dir: Path | None, scratch: Path, user: str) -> None:
    """Convert the complete dump ``blocks`` to SQL with ``pg_restore``, and discard the output.

    ``part`` is the entry of the dump in the manifest. ``bin_dir`` is the setting ``CLIENT_BIN_DIR``, ``user``
    the setting ``RESTORE_USER``. An SQLite dump (development only) is stored in the folder ``scratch`` and
    checked there. Raises ``IntegrityError`` if the dump is damaged, ``ToolMissingError`` or
    ``ToolTooOldError`` if there is no suitable ``pg_restore``, ``ToolError`` if it did not start or was
    killed.
    """
    with closing(blocks):
        if part.engine == "sqlite":
            _read_sqlite(blocks, scratch)
            return
        major = major_of(part.dump_version)
        program = find_client("pg_restore", server_major=major, bin_dir=bin_dir)
        require_major(program, major, reason=f"the dump was made by version {part.dump_version}")
        try:
            argv, run_as = [str(program.path), f"--file={os.devnull}"], restore_account(user)
            feed_process(argv, blocks, env=client_environment(), run_as=run_as)
        except ToolError as error:
            if error.exit_status_of_tool in (None, -signal.SIGKILL, -signal.SIGTERM):
                raise  # not started or killed, for example for lack of memory: the dump may be sound
            raise _damaged(f"pg_restore cannot read the dump: {error.what}") from None


def vulnerable_readers(part: DatabasePart, bin_dir: Path | None) -> tuple[VulnerableProgram, ...]:
    """Return the ``pg_restore`` that :func:`read_dump` would use for ``part``, if it has known holes.

    Otherwise the result is empty.
    """
    if part.engine == "sqlite":
        return ()
    major = major_of(part.dump_version)
    return tuple(vulnerable_clients(["pg_restore"], server_major=major, bin_dir=bin_dir))


def _read_sqlite(blocks: Blocks, scratch: Path) -> None:
    try:
        with tempfile.NamedTemporaryFile(dir=scratch, prefix="igny8_backup-") as file:
            write_file(blocks, file.fileno(), name=f"the dump to {scratch}")
            # Read-only and immutable, so that SQLite creates no journal file.
            uri = f"{Path(file.name).as_uri()}?mode=ro&immutable=1"
            with closing(sqlite3.connect(uri, uri=True)) as session:
                (answer,) = session.execute("PRAGMA integrity_check").fetchone()
    except sqlite3.Error as error:
        raise _damaged(f"SQLite cannot read the dump: {error}.") from None
    except OSError as error:
        raise FilesError(
            f"No scratch file could be created in {scratch}: {error.strerror}.",
            unchanged="Nothing was changed.",
            hint="Set IGNY8_BACKUP['SCRATCH_DIR'] to a folder that this user can write to.",
        ) from None
    if answer != "ok":
        raise _damaged(f"SQLite reports damage in the dump: {answer}.")


def _damaged(what: str) -> IntegrityError:
    return IntegrityError(
        what, unchanged="Nothing live was changed.", hint="Choose another backup: list_backups."
    )
