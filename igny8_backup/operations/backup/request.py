"""The request for a backup, and its result."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field

import django

import igny8_backup
from igny8_backup.errors import BackupError, UsageError
from igny8_backup.formats.details import Skipped, TreeDetails
from igny8_backup.formats.documents.run_record import RunRecord
from igny8_backup.formats.manifest import Manifest
from igny8_backup.operations.backup.suspects import Suspect
from igny8_backup.operations.helper_steps import Shortfall
from igny8_backup.operations.history.storage_memory import LostBackup
from igny8_backup.operations.notify.alarms import Alarm

WHOLE_DUMP = "whole"
"""As ``BackupRequest.dump_kind``: store the dumps whole, not as chunks."""


@dataclass(frozen=True, kw_only=True)
class BackupRequest:
    """What to back up: ``databases`` by alias, ``trees`` by name.

    ``full`` reads and stores every file. ``checksum`` reads every file and stores those whose content
    differs from the last backup. Without either, only files whose metadata changed are read. ``label`` is
    shown in lists of backups. ``task_id`` is the id of the Celery task; a task that is delivered twice makes
    only one backup. ``safety`` marks the backup that a restore in place makes before it changes a database.
    ``dump_kind`` is the kind of dumps that the user demands: ``WHOLE_DUMP``, or ``full`` or ``differential``
    for dumps in chunks. If it is empty, the settings and the earlier dumps decide.

    ``yield_after`` is how many seconds another session may wait for a dump before the run ends; 0 means any
    time, and ``None`` means the setting ``YIELD_AFTER``. ``skip_if_running`` makes no backup if a run of this
    host is making the same one. ``fleet`` is the id of the fleet backup of which this backup is a part.
    """

    databases: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    full: bool = False
    checksum: bool = False
    label: str = ""
    task_id: str = ""
    safety: bool = False
    dump_kind: str = ""
    yield_after: float | None = None
    skip_if_running: bool = False
    fleet: str = ""

    def require_valid(self) -> None:
        """Raise ``UsageError`` if there is nothing to back up, or the label cannot be printed."""
        if not (self.databases or self.trees):
            what = "There is nothing to back up."
            hint = "Add a database or tree to IGNY8_BACKUP['DATABASES'], SITES or LOGS."
        elif not self.label.isprintable():
            what = "The label contains characters that cannot be printed."
            hint = "Use letters, digits, spaces and punctuation only."
        else:
            return
        raise UsageError(what, unchanged="Nothing was read or written.", hint=hint)


@dataclass(frozen=True, kw_only=True)
class BackupResult:
    """The outcome of a backup run.

    ``errors`` maps each database or tree that failed to its error. ``skipped`` are the paths that were left
    out. ``suspects`` are the databases and trees whose copies are complete, but suspect, for example because
    they shrank. ``trees`` are the details of the trees that were backed up. ``shortfalls`` are the helper
    steps that failed; the backup contains everything all the same. ``lost`` are earlier backups of this host
    that are gone from storage. If an earlier run for the same Celery task has ended or still goes on, this
    run makes no backup: ``manifest`` is ``None`` and ``earlier`` is the record of the earlier run. The same
    is true if the run was skipped because an earlier run of the host is making the same backup.
    """

    id: str
    manifest: Manifest | None
    errors: dict[str, BackupError] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    trees: tuple[TreeDetails, ...] = ()
    shortfalls: tuple[Shortfall, ...] = ()
    earlier: RunRecord | None = None
    lost: tuple[LostBackup, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether the backup contains everything that was requested."""
        return not self.errors and not any(item.failure for item in self.skipped)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing or suspect, no helper step failed, and no earlier backup is gone."""
        return self.whole and not (self.suspects or self.shortfalls or self.lost)

    @property
    def alarms(self) -> list[Alarm]:
        """The alarms of the run.

        There is one for each database or tree that failed, is incomplete or is suspect, one for each helper
        step that failed, and a single one for all earlier backups that are gone.
        """
        failed = [Alarm(name, type(error).__name__) for name, error in self.errors.items()]
        skipped = [Alarm(item.tree, f"incomplete: {item.reason}") for item in self.skipped if item.failure]
        suspects = [Alarm(item.name, "suspect") for item in self.suspects]
        beside = [Alarm(item.part, item.step) for item in self.shortfalls]
        lost = [Alarm("", "lost backups")] * bool(self.lost)
        return list(dict.fromkeys((*failed, *skipped, *suspects, *beside, *lost)))

    def problems(self, limit: int) -> list[str]:
        """Return a line for each problem: a failure, shrinkage, a lost backup, or a file that was not stored.

        At most ``limit`` such files are listed.
        """
        lines = [f"LOST: {item.text}" for item in self.lost]
        lines += [f"{name} FAILED: {error}" for name, error in self.errors.items()]
        lines += [f"{item.name} SUSPECT: {item.text}" for item in self.suspects]
        lines += [f"WARNING: {item.text}" for item in self.shortfalls]
        return lines + self._listed([item for item in self.skipped if item.failure], limit)

    def left_out(self, limit: int) -> list[str]:
        """Return a line for each path of a kind that no backup contains, such as a socket.

        At most ``limit`` paths are listed.
        """
        return self._listed([item for item in self.skipped if not item.failure], limit)

    def _listed(self, skipped: list[Skipped], limit: int) -> list[str]:
        lines = [f"{item.tree}: {item.path}: {item.reason}" for item in skipped[:limit]]
        if len(skipped) > limit:
            lines.append(f"... and {len(skipped) - limit} more: show_backup {self.id}")
        return lines


def software_versions() -> dict[str, str]:
    """Return the versions of this package, Python and Django, for the manifest."""
    return {
        "igny8_backup": igny8_backup.__version__,
        "python": platform.python_version(),
        "django": django.get_version(),
    }
