"""The optional methods of a database engine, grouped into capabilities.

SQLite has no server, so its engine has none of these capabilities. Call ``supports`` or ``require`` before
the methods of a capability: an engine that lacks the capability raises ``NotImplementedError`` in them.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime
from enum import Enum
from typing import ClassVar, Self

from igny8_backup.databases.session import Session
from igny8_backup.databases.values import RestoreSelection
from igny8_backup.errors import UsageError
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.manifest import DatabasePart
from igny8_backup.streams import Blocks


class Capability(Enum):
    """A group of optional methods. Its value ends the sentence "The database is SQLite, which cannot ..."."""

    LOCK = "hold a lock that other hosts see"
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

        ``unchanged`` and ``hint`` end the error message: what was not changed, and what to do.
        """
        if not self.supports(capability):
            raise UsageError(
                f"The database {self.alias!r} is {self.display_name}, which cannot {capability.value}.",
                unchanged=unchanged,
                hint=hint,
            )

    # Capability.LOCK

    def lock_session(self) -> AbstractContextManager[Session]:
        """Open a session that can hold an advisory lock for hours.

        It is on the primary server and in a maintenance database, so that the live one can be renamed.
        """
        raise self._lacks(Capability.LOCK)

    # Capability.COPY

    def for_database(self, name: str) -> Self:
        """Return an engine whose live database is the database ``name`` of the same server."""
        raise self._lacks(Capability.COPY)

    def name_staging(self, staging: str, details: DatabaseDetails) -> None:
        """Rename the staging database ``staging`` to the live name and apply the recorded privileges.

        Use :meth:`swap` instead if a database has the live name already. Raises as :meth:`swap`.
        """
        raise self._lacks(Capability.COPY)

    def stale_staging_databases(self) -> list[str]:
        """List the staging databases that interrupted restores left behind.

        A staging database with a session is omitted, because a restore may still be loading it.
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
        self, blocks: Blocks, details: DatabaseDetails, selection: RestoreSelection
    ) -> tuple[str, ...]:
        """Replace the contents of the live database in one transaction by the dump ``blocks``.

        Returns a label, such as ``EVENT TRIGGER - name owner``, for each object that was left out. Raises
        ``UnfinishedError`` if it is unknown whether the server committed. After any other error the database
        is unchanged.
        """
        raise self._lacks(Capability.IN_PLACE)

    # Capability.DRILL

    def dumped_at(self, part: DatabasePart, blocks: Blocks) -> datetime | None:
        """Return the time at which the dump ``blocks`` was made, from its header; ``None`` if unknown."""
        raise self._lacks(Capability.DRILL)

    def drill_databases(self) -> tuple[str, ...]:
        """List the databases that interrupted drills (test restores) left on the server."""
        raise self._lacks(Capability.DRILL)

    # Capability.SANITIZE

    def triggers_disabled(self, name: str) -> AbstractContextManager[None]:
        """Disable the project's triggers in the database ``name`` while the context lasts."""
        raise self._lacks(Capability.SANITIZE)

    def rewrite(self, name: str) -> None:
        """Rewrite the files of the database ``name``, so that they hold no deleted or overwritten row."""
        raise self._lacks(Capability.SANITIZE)

    def _lacks(self, capability: Capability) -> NotImplementedError:
        return NotImplementedError(f"{type(self).__name__} does not support {capability}")
