"""The values of a restore: what was asked for, and the plan that is shown before anything is changed.

:mod:`.planner` makes the plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from igny8_backup.celery.workers import Workers
from igny8_backup.databases.values import WHOLE, RestoreSelection, Target, TargetState
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.manifest import DatabasePart, TreePart
from igny8_backup.operations.restore.workers import WorkersPolicy
from igny8_backup.operations.selection import ALL, require_none
from igny8_backup.operations.staging.overrides import RestoreOverrides
from igny8_backup.streams.age import Identity

SCRATCH, FILES, DATABASES = "scratch", "files", "databases"
"""Kinds of :class:`Space`."""


@dataclass(frozen=True, kw_only=True)
class RestoreRequest:
    """What to restore, and how.

    ``backup_id``: empty for the newest complete backup. ``only``: ``all``, ``db``, ``files``, a database
    alias or the name of a tree; logs are restored only by name. ``assume_space``: free bytes on the volume
    of the database server, if the settings do not say. ``sanitize``: run the project's sanitizers.
    ``keep_personal_data``: accept a production backup in DEBUG. ``allow_set_id``: restore set-user-ID and
    set-group-ID bits and file capabilities.
    """

    backup_id: str = ""
    only: str = ALL
    identity_file: Path | None = None
    workers: WorkersPolicy = WorkersPolicy()
    assume_space: int | None = None
    sanitize: bool = False
    keep_personal_data: bool = False
    allow_set_id: bool = False
    overrides: RestoreOverrides = RestoreOverrides()


@dataclass(frozen=True, kw_only=True)
class Source:
    """A backup that a restore reads. ``secret_key_equal``: the project has the same ``SECRET_KEY`` now."""

    id: str
    host: str
    environment: str
    label: str
    started: datetime
    software: dict[str, str]
    secret_key_equal: bool


@dataclass(frozen=True, kw_only=True)
class Space:
    """Space that a restore needs on one volume beside the live data, in bytes.

    ``place`` is a folder or a database server. The volume of a server is not visible over SQL: ``free`` is
    then what was ``assumed``, or None. ``required`` is false if the restore also works without the space.
    """

    kind: str
    names: tuple[str, ...]
    place: str
    needed: int
    free: int | None
    assumed: bool = False
    required: bool = True

    @property
    def enough(self) -> bool:
        """Whether the space suffices, as far as is known."""
        return self.free is None or self.free >= self.needed


@dataclass(frozen=True, kw_only=True)
class DatabasePlan:
    """One database: the backup to restore, and the live database and server as they are now."""

    backup_id: str
    part: DatabasePart
    details: DatabaseDetails
    target: Target
    target_state: TargetState
    selection: RestoreSelection = WHOLE

    @property
    def same_server(self) -> bool | None:
        """Whether the backup was made on the server that it will be restored to; None if unknown."""
        then, now = self.details.system_identifier, self.target_state.system_identifier
        return then == now if then and now else None


@dataclass(frozen=True, kw_only=True)
class TreePlan:
    """One tree: the backup to restore, and the live root. ``empty``: the root has no files to be replaced.

    ``seconds_after_database``: how long after the database snapshot the tree was read; negative if before.
    """

    backup_id: str
    part: TreePart
    root: Path
    empty: bool
    seconds_after_database: int | None = None


@dataclass(frozen=True, kw_only=True)
class RestorePlan:
    """What a restore will do.

    ``notes`` are to be read before confirming. Any of ``blockers`` prevents the restore. ``host`` and
    ``environment`` are those of this machine.
    """

    created: datetime
    host: str
    environment: str
    sources: tuple[Source, ...]
    databases: tuple[DatabasePlan, ...]
    trees: tuple[TreePlan, ...]
    notes: tuple[str, ...]
    blockers: tuple[str, ...]
    identities: tuple[Identity, ...]
    spaces: tuple[Space, ...] = ()
    workers: Workers = Workers()
    policy: WorkersPolicy = WorkersPolicy()
    sanitize: bool = False
    allow_set_id: bool = False

    @property
    def replaces(self) -> tuple[str, ...]:
        """The names of the live databases that are not empty and will be replaced."""
        return tuple(item.target.name for item in self.databases if not item.target.empty)

    @property
    def backup_ids(self) -> tuple[str, ...]:
        """The ids of the backups to read, oldest first."""
        ids = {item.backup_id for item in self.databases} | {item.backup_id for item in self.trees}
        return tuple(sorted(ids))

    def require_feasible(self) -> None:
        """Raise ``RefusedError`` that lists the blockers, if there are any."""
        require_none(self.blockers)
