"""The request for the part of one host in a fleet restore: its record, its lock, and how it fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from igny8_backup.catalog.fleet_restores import read_restore
from igny8_backup.common.humanize import one_line
from igny8_backup.common.outside import is_from_outside
from igny8_backup.errors import BackupError, UnfinishedError, UsageError
from igny8_backup.formats import keys
from igny8_backup.formats.documents.fleet_restore import FAILED, FleetRestore, HostRestore
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.fleet.restore.recorder import Recorder

_UNCHANGED = "Nothing was changed on this host."


@dataclass(frozen=True, kw_only=True)
class HostRequest:
    """The part of ``host`` in the fleet restore ``restore``. ``identity_file`` has the key of this host.

    ``allow_vulnerable``: programs with known security holes may be used on this host.
    """

    restore: str
    host: str
    identity_file: Path | None = None
    allow_vulnerable: bool = False


def read_record(context: BackupContext, request: HostRequest) -> FleetRestore:
    """Read the record of the fleet restore. Raises ``UsageError`` if it is not for this host."""
    if request.host != context.config.host:
        raise UsageError(
            f"This host is {context.config.host!r}, but the task is for {request.host!r}.",
            unchanged=_UNCHANGED,
            hint="Let the workers of each host listen to the queue of that host only, and set HOST on each.",
        )
    known = keys.is_id(request.restore)
    record = read_restore(context.store, context.config.trust, request.restore) if known else None
    if record is None or record.environment != context.config.environment:
        raise UsageError(
            f"There is no fleet restore {request.restore!r} in {context.store.describe()}.",
            unchanged=_UNCHANGED,
            hint="Take the id from the command that coordinates it: restore_all --fleet. Use the same"
            " storage, PREFIX and ENVIRONMENT in the settings of every host.",
        )
    if request.host not in record.hosts:
        raise UsageError(
            f"The host {request.host!r} has no part in the fleet restore {record.id}, which is for"
            f" {', '.join(record.hosts)}.",
            unchanged=_UNCHANGED,
            hint="If this host was renamed, or replaces one of them, set IGNY8_BACKUP['HOST'] to the old name"
            " until the restore is done.",
        )
    return record


@contextmanager
def recorded(recorder: Recorder[HostRestore]) -> Iterator[None]:
    """Record a failure of the block for the coordinator, and raise it."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, BackupError):
            text, unfinished = one_line(str(error)), isinstance(error, UnfinishedError)
        elif is_from_outside(error):
            text, unfinished = "It was stopped.", False
        else:
            text, unfinished = f"Unexpected {type(error).__name__}.", False
        try:
            recorder.write(state=FAILED, error=text, unfinished=unfinished)
        except BackupError as second:
            if isinstance(error, BackupError):
                raise error from second
        raise


@dataclass(frozen=True)
class PartLock:
    """What the lock on this host protects: one process at a time does the part of a fleet restore."""

    restore: str
    storage: str

    def identity(self) -> str:
        return f"fleet restore {self.restore} in {self.storage}"

    def describe(self) -> str:
        return f"the part of this host in the fleet restore {self.restore}"
