"""What a restore would do, as people and scripts are shown it before: made by ``planning``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from igny8_backup.celery.workers import Workers
from igny8_backup.databases.values import WHOLE, RestoreSelection, Target, TargetState
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.manifest import DatabasePart, TreePart
from igny8_backup.operations.restore.target import Source, Space
from igny8_backup.operations.restore.workers import WorkersPolicy
from igny8_backup.operations.selection import ALL, require_none
from igny8_backup.operations.staging.overrides import RestoreOverrides
from igny8_backup.streams.age import Identity


@dataclass(frozen=True, kw_only=True)
class RestoreRequest:
    """``only`` is ``all``, ``db``, ``files``, an alias or the name of a tree; logs come back by name only.

    ``assume_space`` is the room, in bytes, on the volume of the database server, where the settings do not
    say. ``sanitize`` runs the project's sanitizers; ``keep_personal_data`` lets production's data into DEBUG;
    ``allow_set_id`` lets set-user-id and set-group-id bits and capabilities of files come back.
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
class DatabasePlan:
    """One database: from where, what it was, what stands there now and round it."""

    backup_id: str
    part: DatabasePart
    details: DatabaseDetails
    target: Target
    target_state: TargetState
    wanted: RestoreSelection = WHOLE

    @property
    def same_server(self) -> bool | None:
        """Whether the backup is of the very server that it goes to; ``None`` where nobody knows."""
        then, now = self.details.system_identifier, self.target_state.system_identifier
        return then == now if then and now else None


@dataclass(frozen=True, kw_only=True)
class TreePlan:
    """One tree: from where, the root that it goes to, and whether there is nothing in it to be replaced.

    ``seconds_after_database``: how long after the database snapshot it was read; negative for before.
    """

    backup_id: str
    part: TreePart
    root: Path
    empty: bool
    seconds_after_database: int | None = None


@dataclass(frozen=True, kw_only=True)
class RestorePlan:
    """What will be done, notes to read before, and obstacles: with one of those nothing will be done.

    ``host`` and ``environment`` are those of this machine; ``sources`` are the backups that are used.
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
        """The names of live databases that hold something and would be replaced."""
        return tuple(item.target.name for item in self.databases if not item.target.empty)

    @property
    def backup_ids(self) -> tuple[str, ...]:
        """The backups that something is taken from, oldest first."""
        ids = {item.backup_id for item in self.databases} | {item.backup_id for item in self.trees}
        return tuple(sorted(ids))

    def require_feasible(self) -> None:
        """Raises ``RefusedError`` listing what is in the way."""
        require_none(self.blockers)
