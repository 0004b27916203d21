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
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.operations.restore.workers import WorkersPolicy
from igny8_backup.operations.selection import BasePlan, BaseRequest
from igny8_backup.operations.staging.overrides import RestoreOverrides

FILES, DATABASES = "files", "databases"
"""Kinds of :class:`Space`."""


@dataclass(frozen=True, kw_only=True)
class RestoreRequest(BaseRequest):
    """A request to restore databases and trees.

    ``assume_space``: free bytes on the volume of the database server; None to use the setting.
    ``ignore_space``: restore although an estimate says that the space does not suffice. ``migrate``: run the
    migrations of the code before the swap. ``sanitize``: run the project's sanitizers. ``allow_set_id``:
    restore set-user-ID and set-group-ID bits and file capabilities. ``in_fleet``: the other hosts of the
    fleet backup are restored at the same time, so the plan does not mention them.
    """

    workers: WorkersPolicy = WorkersPolicy()
    assume_space: int | None = None
    ignore_space: bool = False
    migrate: bool = True
    sanitize: bool = False
    allow_set_id: bool = False
    in_fleet: bool = False
    overrides: RestoreOverrides = RestoreOverrides()


@dataclass(frozen=True, kw_only=True)
class Source:
    """A backup that a restore reads. ``secret_key_equal``: it was made with the present ``SECRET_KEY``."""

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

    ``place`` is a folder or a database server. The free space of a server cannot be queried. For a server,
    ``free`` is the number that the user has given (then ``assumed`` is true), or None. ``inodes`` is the
    number of files and folders to create; ``free_inodes`` is None where there is no limit.
    """

    kind: str
    names: tuple[str, ...]
    place: str
    needed: int
    free: int | None
    assumed: bool = False
    inodes: int = 0
    free_inodes: int | None = None

    @property
    def enough(self) -> bool:
        """Whether the bytes suffice, as far as is known."""
        return self.free is None or self.free >= self.needed

    @property
    def enough_inodes(self) -> bool:
        """Whether the inodes suffice, as far as is known."""
        return self.free_inodes is None or self.free_inodes >= self.inodes


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
    before, None if no database is restored with the tree. ``excluded_files`` and ``excluded_bytes`` count the
    live files that backups exclude: the restore moves them aside, and no backup can bring them back.
    """

    backup_id: str
    part: TreePart
    root: Path
    empty: bool
    seconds_after_database: int | None = None
    excluded_files: int = 0
    excluded_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class RestorePlan(BasePlan):
    """The plan of a restore. ``host`` and ``environment`` are those of this machine.

    ``fleet`` is the id of the fleet backup of which this host restores its part; empty if there is none.
    """

    host: str
    environment: str
    sources: tuple[Source, ...]
    databases: tuple[DatabasePlan, ...]
    trees: tuple[TreePlan, ...]
    spaces: tuple[Space, ...] = ()
    workers: Workers = Workers()
    policy: WorkersPolicy = WorkersPolicy()
    migrate: bool = True
    sanitize: bool = False
    allow_set_id: bool = False
    fleet: str = ""

    @property
    def replaces(self) -> tuple[str, ...]:
        """The names of the live databases that are not empty and will be replaced."""
        return tuple(item.target.name for item in self.databases if not item.target.empty)

    @property
    def replaces_data(self) -> bool:
        """Whether a live database that is not empty, or live files, will be replaced."""
        return bool(self.replaces) or not all(item.empty for item in self.trees)

    @property
    def backup_ids(self) -> tuple[str, ...]:
        """The ids of the backups to read, oldest first."""
        ids = {item.backup_id for item in self.databases} | {item.backup_id for item in self.trees}
        return tuple(sorted(ids))
