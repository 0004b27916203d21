"""The optional methods of PostgreSQL's engine: those of :mod:`igny8_backup.databases.capabilities`."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import Self

from igny8_backup.databases.capabilities import Capability
from igny8_backup.databases.dump_streams import DumpStreams, Placement
from igny8_backup.databases.engine import Engine
from igny8_backup.databases.names import DRILL, is_derived_name
from igny8_backup.databases.postgresql.connections.connection import Connection
from igny8_backup.databases.postgresql.connections.other_access import with_access
from igny8_backup.databases.postgresql.connections.sessions import open_lock_session
from igny8_backup.databases.postgresql.dump.dump import Dumper
from igny8_backup.databases.postgresql.dump.placement import possible_archives
from igny8_backup.databases.postgresql.in_place.preflight import find_in_place_blockers
from igny8_backup.databases.postgresql.in_place.restore import restore_in_place
from igny8_backup.databases.postgresql.restore import load as loading
from igny8_backup.databases.postgresql.restore import staging as staging_databases
from igny8_backup.databases.postgresql.restore.archive.toc import read_contents
from igny8_backup.databases.postgresql.restore.swap import name_database
from igny8_backup.databases.postgresql.restore.vacuum import rewrite, triggers_disabled
from igny8_backup.databases.postgresql.roles.drill_role import (
    adopt_drill_roles,
    create_missing_roles,
    drill_role,
    drop_roles,
)
from igny8_backup.databases.session import Session
from igny8_backup.databases.values import WHOLE, Answers, RestoreSelection, ServerAccess
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.streams import Blocks
from igny8_backup.streams.account import Account


class PostgresqlOptionalMethods(Engine):
    """The methods of all capabilities. The module ``engine`` has the other methods and the constructor.

    ``source`` is the connection for backups, ``live`` that of the application.
    """

    capabilities = frozenset(Capability)
    lock_seconds: float
    source: Connection
    live: Connection
    _dumper: Dumper
    _excluded: tuple[str, ...]
    _bin_dir: Path | None
    _scratch: Path
    _run_as: Account | None

    # Capability.LOCK

    def lock_session(self) -> AbstractContextManager[Session]:
        return open_lock_session(self.live, self.source)

    # Capability.YIELD

    def waiting_sessions(self, seconds: float, closed: Event) -> str:
        return self._dumper.sessions.waiting(seconds, closed)

    def end_dump(self) -> None:
        self._dumper.sessions.end()

    # Capability.ARCHIVES

    @contextmanager
    def open_archives(
        self,
        details: DatabaseDetails,
        queries: Mapping[str, str],
        on_answers: Callable[[Answers], None],
        *,
        jobs: int,
        placement: Placement | None = None,
    ) -> Iterator[DumpStreams]:
        wanted = 1
        if jobs > 1:
            with self.source.open() as session:
                wanted = possible_archives(session, jobs, placement)
        with self._dumper.open_archives(
            details, queries, on_answers, self.lock_seconds, wanted=wanted, placement=placement
        ) as dump:
            yield dataclasses.replace(dump, at_once=min(jobs, len(dump.archives)))

    def load_archives(
        self, staging: str, archives: Sequence[Blocks], *, jobs: int, selection: RestoreSelection = WHOLE
    ) -> tuple[str, ...]:
        return loading.load(
            self.live.to(staging),
            archives,
            scratch=self._scratch,
            jobs=jobs,
            bin_dir=self._bin_dir,
            selection=selection,
            run_as=self._run_as,
        )

    # Capability.COPY

    def for_database(self, name: str) -> Self:
        other = copy.copy(self)
        other.live = self.live.to(name)
        return other

    def name_staging(self, staging: str, details: DatabaseDetails) -> None:
        name_database(self.live, staging, details)

    def stale_staging_databases(self) -> list[str]:
        return staging_databases.stale_staging_databases(self.live)

    # Capability.OVERRIDE

    def roles(self) -> tuple[str, frozenset[str]]:
        with self.live.maintenance() as session:
            (current,) = session.execute("SELECT current_user::text").fetchone() or ("",)
            return current, frozenset(row[0] for row in session.execute("SELECT rolname FROM pg_roles"))

    # Capability.IN_PLACE

    def in_place_blockers(self, part: DatabasePart, details: DatabaseDetails, blocks: Blocks) -> list[str]:
        return find_in_place_blockers(
            self.live, part, details, blocks, excluded=self._excluded, bin_dir=self._bin_dir
        )

    def restore_in_place(
        self, blocks: Blocks, details: DatabaseDetails, selection: RestoreSelection, *data: Blocks
    ) -> tuple[str, ...]:
        return restore_in_place(
            self.live,
            blocks,
            details,
            data=data,
            selection=selection,
            scratch=self._scratch,
            bin_dir=self._bin_dir,
            run_as=self._run_as,
        )

    # Capability.DRILL

    def dumped_at(self, part: DatabasePart, blocks: Blocks) -> datetime | None:
        with closing(blocks):
            return read_contents(blocks).created

    def drill_databases(self) -> tuple[str, ...]:
        with self.live.maintenance() as session:
            names = [name for (name,) in session.execute("SELECT datname::text FROM pg_database")]
        return tuple(name for name in names if is_derived_name(name, self.live.name, DRILL))

    def at(self, access: ServerAccess) -> Self:
        other = copy.copy(self)
        other.live = other.source = with_access(self.live, access)
        return other

    def drill_role(self, name: str) -> AbstractContextManager[ServerAccess | None]:
        return drill_role(self.live, name)

    def remove_drills(self, roles: str) -> None:
        with self.live.maintenance() as session:
            names = adopt_drill_roles(session, roles)
            for database in self.drill_databases():
                self.drop(database)
            drop_roles(session, names)

    def create_missing_roles(self, details: DatabaseDetails, member: str) -> None:
        with self.live.maintenance() as session:
            create_missing_roles(session, details, member)

    # Capability.SANITIZE

    def triggers_disabled(self, name: str) -> AbstractContextManager[None]:
        return triggers_disabled(self.live.to(name))

    def rewrite(self, name: str) -> dict[str, str]:
        return rewrite(self.live.to(name))
