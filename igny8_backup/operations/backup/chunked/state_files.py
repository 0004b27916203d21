"""The files about dumps in chunks in ``STATE_DIR``: maps, logs of attempts, and records of full dumps.

Full dumps have a log of their own. If a full dump is put off after failures, other dumps are made meanwhile,
and the next full dump can still use the packs that its failed attempts have stored.
"""

from __future__ import annotations

from pathlib import Path

from igny8_backup.chunks.try_log import TriedDump, read_log
from igny8_backup.errors import FilesError
from igny8_backup.operations.context import BackupContext


def map_path(context: BackupContext, alias: str) -> Path:
    """Return the path of the map of chunks for the database ``alias`` on this host."""
    return context.config.state_dir / "chunks" / context.config.host / f"{alias}.map"


def log_path(context: BackupContext, alias: str, *, full: bool) -> Path:
    """Return the path of the log (``chunks.try_log``) of the last attempt to dump the database ``alias``.

    ``full``: the log of full dumps, not that of the others.
    """
    return map_path(context, alias).with_suffix(".full-try" if full else ".try")


def tries_path(context: BackupContext, alias: str) -> Path:
    """Return the path of the record (``full_tries``) of the full dumps that ended early."""
    return map_path(context, alias).with_suffix(".tries")


def read_tried(context: BackupContext, alias: str, *, full: bool) -> TriedDump | None:
    """Return the log of the last attempt at a full dump, or at one that is not ``full``.

    The result is ``None`` if there is no such log. Earlier releases had one log for dumps of all kinds. If it
    is that of a full dump, it is renamed. Raises ``FilesError``.
    """
    own, common = (log_path(context, alias, full=kind) for kind in (True, False))
    path = common
    try:
        tried = read_log(path)
        if tried and tried.header.full:
            common.replace(own)
            tried = None
        if full:
            path = own
            tried = read_log(path)
    except OSError as error:
        raise unreadable(path, error) from None
    return tried if tried and tried.header.full == full else None


def unreadable(path: Path, error: OSError) -> FilesError:
    """Return the error for a dump that fails because a map or log in ``STATE_DIR`` cannot be read."""
    what = f"The map of chunks {path} cannot be read: {error.strerror}."
    return FilesError(what, hint="Check the permissions of IGNY8_BACKUP['STATE_DIR'].")


def state_error(context: BackupContext, error: OSError) -> FilesError:
    """Return the error for a dump that fails because ``STATE_DIR`` cannot be written.

    The dump writes the map of its chunks and the log of the attempt there. ``error`` is the reason.
    """
    return FilesError(
        f"The folder of maps of chunks in {context.config.state_dir} cannot be written: {error.strerror}.",
        unchanged="This database is not in the backup.",
        hint="Free some space there, or move IGNY8_BACKUP['STATE_DIR'] to a persistent volume.",
    )
