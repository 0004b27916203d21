"""The optional methods of a database engine, grouped into capabilities.

SQLite has no server, so its engine has none of these capabilities. Call ``supports`` or ``require`` before
the methods of a capability: an engine that lacks the capability raises ``NotImplementedError`` in them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from enum import Enum
from threading import Event
from typing import ClassVar, Self

from igny8_backup.databases.dump_streams import DumpStreams, Placement
from igny8_backup.databases.session import Session
from igny8_backup.databases.values import WHOLE, Answers, RestoreSelection, ServerAccess, VulnerableProgram
from igny8_backup.errors import UsageError
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.streams import Blocks


class Capability(Enum):
    """A group of optional methods of an engine.

    The value of each member ends the error message "The database is SQLite, which cannot ...".
    """

    LOCK = "hold a lock that other hosts see"
    YIELD = "end a dump that other sessions wait for"
    ARCHIVES = "be dumped over several connections"
    COPY = "be restored under another name"
    OVERRIDE = "be restored with other owners or another locale"
    IN_PLACE = "be restored in place"
    DRILL = "be restored for a drill"
    SANITIZE = "be sanitized"


class OptionalMethods:
    """The methods of :class:`~igny8_backup.databases.engine.Engine` that an engine need not implement."""

    alias: str
    display_name: ClassVar[str]
    """The name of the database product in messages."""
    capabilities: ClassVar[frozenset[Capability]] = frozenset()

    def supports(self, capability: Capability) -> bool:
        """Return whether the engine implements the methods of ``capability``."""
        return capability in self.capabilities

    def require(self, capability: Capability, *, unchanged: str, hint: str) -> None:
        """Raise :class:`~igny8_backup.errors.UsageError` if the engine lacks ``capability``.

        ``unchanged`` (what was not changed) and ``hint`` (what to do) are the last two parts of the message.
        """
        if not self.supports(capability):
            raise UsageError(
                f"The database {self.alias!r} is {self.display_name}, which cannot {capability.value}.",
                unchanged=unchanged,
                hint=hint,
            )

    # What a forged dump could misuse, and what it must not change

    def vulnerable_programs(self, *, in_place: bool = False) -> tuple[VulnerableProgram, ...]:
        """Return the client programs and the server that a restore uses, if they have known security holes.

        ``in_place``: the restore replaces the contents of the live database itself, without a swap.
        """
        return ()

    def role_powers(self) -> str:
        """Return a sentence on what the SQL of a dump could do outside the restored database, and the remedy.

        Such SQL runs with the role of the restore. The sentence is empty if that role is neither a superuser
        nor a member of a role that can read files or run programs on the server's machine.
        """
        return ""

    def live_marks(self, *, contents: bool = False) -> Mapping[str, str]:
        """Return values that identify the live database and describe its attributes and settings.

        Compare two results to find out whether the database was replaced or altered. The keys are names for
        messages, such as ``oid``, ``owner`` and ``settings``. With ``contents``, one value identifies the
        tables, so it differs after a restore in place. No value depends on the rows of tables.
        """
        return {}

    # Capability.LOCK

    def lock_session(self) -> AbstractContextManager[Session]:
        """Open a session that can hold an advisory lock for hours.

        The session is on the primary server, in a maintenance database: a session in the live database would
        prevent a restore from renaming it.
        """
        raise self._lacks(Capability.LOCK)

    # Capability.YIELD

    def waiting_sessions(self, seconds: float, closed: Event) -> str:
        """Wait until a session has waited for ``seconds`` for a table lock that a dump of this engine holds.

        Returns a sentence that describes the waiting sessions; it is empty if ``closed`` was set before. Call
        this from another thread while the engine dumps. Raises ``DatabaseError``.
        """
        raise self._lacks(Capability.YIELD)

    def end_dump(self) -> None:
        """End the sessions of the dump that this engine makes in another thread, to release the dump's locks.

        The dump then raises an error. Raises ``DatabaseError``.
        """
        raise self._lacks(Capability.YIELD)

    # Capability.ARCHIVES

    def open_archives(
        self,
        details: DatabaseDetails,
        queries: Mapping[str, str],
        on_answers: Callable[[Answers], None],
        *,
        jobs: int,
        placement: Placement | None = None,
    ) -> AbstractContextManager[DumpStreams]:
        """Dump a database; yield a stream for each archive, of which up to ``jobs`` are read at a time.

        Several threads may read the streams. The data archives have rows that the main archive lacks. If
        ``placement`` is ``None``, sizes decide which rows. For the other arguments, see ``Engine.dump``.
        """
        raise self._lacks(Capability.ARCHIVES)

    def load_archives(
        self, staging: str, archives: Sequence[Blocks], *, jobs: int, selection: RestoreSelection = WHOLE
    ) -> tuple[str, ...]:
        """Restore a dump of several ``archives``, the main one first; otherwise as ``Engine.load`` does."""
        raise self._lacks(Capability.ARCHIVES)

    # Capability.COPY

    def for_database(self, name: str) -> Self:
        """Return an engine whose live database is the database ``name`` of the same server."""
        raise self._lacks(Capability.COPY)

    def name_staging(self, staging: str, details: DatabaseDetails) -> None:
        """Rename the staging database ``staging`` to the live name and apply the recorded privileges.

        Use :meth:`swap` instead if a database has the live name already. Raises the same errors as
        :meth:`swap`.
        """
        raise self._lacks(Capability.COPY)

    def stale_staging_databases(self) -> list[str]:
        """List the staging databases that interrupted restores left behind.

        A staging database in which a session is open is omitted, because a restore may still be loading it.
        """
        raise self._lacks(Capability.COPY)

    # Capability.OVERRIDE

    def roles(self) -> tuple[str, frozenset[str]]:
        """Return the name of the role that restores run as, and the names of all roles on the server."""
        raise self._lacks(Capability.OVERRIDE)

    # Capability.IN_PLACE

    def in_place_blockers(self, part: DatabasePart, details: DatabaseDetails, blocks: Blocks) -> list[str]:
        """Return the reasons why the dump ``blocks`` cannot replace the contents of the live database itself.

        The list is empty if it can. ``part`` is the entry of the dump in the manifest, ``details`` are the
        recorded properties of the database. Only the beginning of ``blocks`` is read.
        """
        raise self._lacks(Capability.IN_PLACE)

    def restore_in_place(
        self, blocks: Blocks, details: DatabaseDetails, selection: RestoreSelection, *data: Blocks
    ) -> tuple[str, ...]:
        """Replace the contents of the live database with the dump ``blocks``, in one transaction.

        ``data`` are its data archives, ``details`` the recorded properties of the database. Returns a label,
        such as ``EVENT TRIGGER - name owner``, for each object of the dump that was not restored. Raises
        ``UnfinishedError`` if it is unknown whether the server committed. After any other error the database
        is unchanged.
        """
        raise self._lacks(Capability.IN_PLACE)

    # Capability.DRILL

    def dumped_at(self, part: DatabasePart, blocks: Blocks) -> datetime | None:
        """Return the time at which the dump ``blocks`` was made, from its header; ``None`` if unknown.

        ``part`` is the entry of the dump in the manifest.
        """
        raise self._lacks(Capability.DRILL)

    def drill_databases(self) -> tuple[str, ...]:
        """List the databases that interrupted drills (test restores) left on the server."""
        raise self._lacks(Capability.DRILL)

    def at(self, access: ServerAccess) -> Self:
        """Return an engine that connects with the role of ``access``.

        If ``access`` names a host, the new engine connects to that server, otherwise to the server of this
        engine.
        """
        raise self._lacks(Capability.DRILL)

    def drill_role(self, name: str) -> AbstractContextManager[ServerAccess | None]:
        """Create the role ``name`` for a drill, yield how to connect with it, and drop it at the end.

        The role may create databases and nothing else. Yields ``None`` if no usable role can be created. The
        caller must drop the role's databases before the context ends.
        """
        raise self._lacks(Capability.DRILL)

    def remove_drills(self, roles: str) -> None:
        """Drop the databases and roles that interrupted drills left on the server.

        ``roles`` is the prefix of the names of this project's drill roles.
        """
        raise self._lacks(Capability.DRILL)

    def create_missing_roles(self, details: DatabaseDetails, member: str) -> None:
        """Create the role ``member``, and the roles that ``details`` mention.

        ``member`` is the role of a drill. It becomes a member of the other roles that are created, so that it
        can restore their objects. Roles that already exist are not changed. The engine must be connected as
        the superuser of a private server: see :mod:`igny8_backup.databases.private_server`.
        """
        raise self._lacks(Capability.DRILL)

    # Capability.SANITIZE

    def triggers_disabled(self, name: str) -> AbstractContextManager[None]:
        """Disable the application's triggers in the database ``name`` while the context lasts."""
        raise self._lacks(Capability.SANITIZE)

    def rewrite(self, name: str) -> dict[str, str]:
        """Rewrite the data files of the database ``name``, so that they hold no deleted or overwritten row.

        Returns the tables whose statistics could not be collected again, each with the reason.
        """
        raise self._lacks(Capability.SANITIZE)

    def _lacks(self, capability: Capability) -> NotImplementedError:
        return NotImplementedError(f"{type(self).__name__} does not support {capability}")
