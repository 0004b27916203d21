"""The request for a restore, and the plan that is shown before anything is changed.

``planner`` makes the plan.
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
from igny8_backup.operations.selection import BasePlan, BaseRequest
from igny8_backup.operations.staging.overrides import RestoreOverrides

SCRATCH, FILES, DATABASES = "scratch", "files", "databases"
"""Kinds of :class:`Space`."""


@dataclass(frozen=True, kw_only=True)
class RestoreRequest(BaseRequest):
    """A request to restore databases and trees.

    ``assume_space``: free bytes on the volume of the database server; None to use the setting. ``sanitize``:
    run the project's sanitizers. ``allow_set_id``: restore set-user-ID and set-group-ID bits and file
    capabilities.
    """

    workers: WorkersPolicy = WorkersPolicy()
    assume_space: int | None = None
    sanitize: bool = False
    allow_set_id: bool = False
    overrides: RestoreOverrides = RestoreOverrides()


@dataclass(frozen=True, kw_only=True)
class Source:
    """A backup that a restore reads. ``secret_key_equal``: it was made with the current ``SECRET_KEY``."""

    id: str
    host: str
    environment: str
    label: str
    started: datetime
    software: dict[str, str]
    secret_key_equal: bool


@dataclass(frozen=True, kw_only=True)
class Space:
    """The space on one volume that a restore needs in addition to the live data, in bytes.

    ``place`` is a folder or a database server. The free space of a server cannot be queried: ``free`` is then
    the number that the user ``assumed``, or None. ``required`` is false if the restore works without the
    space.
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
    """A database to restore. ``target`` and ``target_state`` describe the live database and its server."""

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
    """A tree to restore into ``root``. ``empty``: the root has no files to replace.

    ``seconds_after_database``: how long after the snapshot of the database the tree was read; negative if
    before, None if no database is restored with the tree.
    """

    backup_id: str
    part: TreePart
    root: Path
    empty: bool
    seconds_after_database: int | None = None


@dataclass(frozen=True, kw_only=True)
class RestorePlan(BasePlan):
    """The plan of a restore. ``host`` and ``environment`` are those of this machine."""

    host: str
    environment: str
    sources: tuple[Source, ...]
    databases: tuple[DatabasePlan, ...]
    trees: tuple[TreePlan, ...]
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
