"""Explain why a run failed and what to do, from its outcome and the classes of its errors."""

from __future__ import annotations

from dataclasses import dataclass

from igny8_backup.formats.documents.run_record import SKIPPED, YIELDED
from igny8_backup.formats.documents.status import StatusRun
from igny8_backup.formats.manifest import FAILED, INCOMPLETE, LOCKED, STOPPED
from igny8_backup.operations.status.build import DIED


@dataclass(frozen=True)
class Failure:
    """The explanation of a failure: what happened, what to do, and the title of a documentation page."""

    what: str
    advice: str
    page: str


_MESSAGES = "Messages"
_BY_ERROR = {
    "DatabaseError": Failure(
        "The database server could not be reached, or it refused a statement.",
        "Check that the server runs, and that the role of the backup may read all tables.",
        "Messages about databases",
    ),
    "FilesError": Failure(
        "A folder or file on the host could not be read or written.",
        "Check that the folder is mounted, and that the user of the backup may read it.",
        "Back up files",
    ),
    "IdentityError": Failure(
        "A key could not be used: the signing key, or the private key of a drill.",
        "Check the files that SIGNING and IDENTITY_FILE name in the settings, and their owner.",
        "Manage keys",
    ),
    "IntegrityError": Failure(
        "Data in storage was damaged.",
        "Run verify_backup to see what is damaged, then make a new backup.",
        "Verify backups",
    ),
    "LockedError": Failure(
        "The run lost its lock, or another run held it.",
        "Look for another run at the same time, and start the backup again when that run has ended.",
        "Messages about keys, storage, files and runs",
    ),
    "RefusedError": Failure(
        "A safety rule of igny8_backup forbade it.",
        "Run python manage.py check --deploy on the host: it names the rule and the setting.",
        "Checks",
    ),
    "StorageError": Failure(
        "The storage could not be reached, or it refused a request.",
        "Check that the storage runs, that it has space, and that the credentials may write to it.",
        "Messages about keys, storage, files and runs",
    ),
    "ToolError": Failure(
        "A program that reads or writes the data failed, such as pg_dump.",
        "Look for the last lines of the program in the log of the run.",
        "Messages about databases",
    ),
    "ToolMissingError": Failure(
        "A program was not installed on the host.",
        "Install the client programs of PostgreSQL on the host, or set CLIENT_BIN_DIR.",
        "Back up databases",
    ),
    "ToolTooOldError": Failure(
        "A client program of PostgreSQL was older than the server.",
        "Install the client programs of the server's version on the host.",
        "Back up databases",
    ),
}
_OTHER = Failure(
    "It failed with an error that igny8_backup does not expect.",
    "Look for the traceback in the log of the run, and report it.",
    _MESSAGES,
)
_BY_OUTCOME = {
    DIED: Failure(
        "The run stopped without saying why: it was killed, or the host went down.",
        "Look for the end of the process in the log of the host, and for lack of memory. What the"
        " run had stored is used by a later run, or removed by prune_backups after a day.",
        "Schedule backups with cron or systemd",
    ),
    STOPPED: Failure(
        "The run was stopped from outside, by a signal or a time limit.",
        "If a time limit of Celery stopped it, raise the limit of the task.",
        "Celery tasks",
    ),
    LOCKED: Failure(
        "The run gave up waiting for another run, and backed up nothing.",
        "Let the runs start at different times, or let this one wait for longer: --wait.",
        "Schedule backups with cron or systemd",
    ),
    SKIPPED: Failure(
        "The host was still making the backup before it, and this one was skipped.",
        "If it happens again, make backups less often, or find out why they take so long.",
        "Back up every hour",
    ),
    YIELDED: Failure(
        "Another session, such as a migration, waited for a lock of the run, and the run ended.",
        "If it happens again, look for what takes exclusive locks at the time of the backup.",
        "Back up every hour",
    ),
    INCOMPLETE: Failure(
        "The run made a backup, but some files could not be read, or a copy may lack data.",
        "python manage.py show_backup lists the files that were skipped, if you give it the key.",
        "Back up files",
    ),
    FAILED: Failure(
        "The run failed, and no backup was recorded.",
        "The log of the run on the host has the whole message.",
        _MESSAGES,
    ),
}


def failure_of_error(kind: str) -> Failure:
    """Return the explanation of an error; ``kind`` is the name of its class."""
    return _BY_ERROR.get(kind, _OTHER)


def failure_of_run(run: StatusRun) -> Failure:
    """Return the explanation of the outcome of a run, but not of the errors of its databases and trees."""
    return _BY_OUTCOME.get(run.outcome, _BY_OUTCOME[FAILED])


def reason_of(run: StatusRun) -> str:
    """Return in one line why a run failed, or ``""`` if the run did not fail."""
    if run.errors:
        found = {name: failure_of_error(kind).what for name, kind in run.errors.items()}
        return " ".join(f"{'' if name == 'run' else f'{name}: '}{what}" for name, what in found.items())
    return failure_of_run(run).what if run.outcome in _BY_OUTCOME else ""
