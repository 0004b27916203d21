"""What only some engines can do, and how to ask for it.

SQLite has no server, so it can neither hold a lock for other hosts nor keep several databases. Ask
``supports`` or call ``require`` before using the methods of a capability: an engine without it raises
``NotImplementedError``.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime
from enum import Enum
from typing import Any, ClassVar, Self

import psycopg

from igny8_backup.databases.values import RestoreSelection
from igny8_backup.errors import UsageError
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.manifest import DatabasePart
from igny8_backup.streams import Blocks


class Capability(Enum):
    """What only some engines can do. The value completes the sentence "which cannot ..."."""

    LOCK = "hold a lock that other hosts see"
    COPY = "be restored under another name"
    OVERRIDE = "be restored with other owners or another locale"
    IN_PLACE = "be restored in place"
    DRILL = "be restored for a drill"
    SANITIZE = "be sanitized"


class OptionalMethods:
    """The part of :class:`~igny8_backup.databases.engine.Engine` that an engine need not implement."""

    alias: str
    display_name: ClassVar[str]
    """The engine's name in messages."""
    capabilities: ClassVar[frozenset[Capability]] = frozenset()

    def supports(self, capability: Capability) -> bool:
        """Whether the engine implements the methods of ``capability``."""
        return capability in self.capabilities

    def require(self, capability: Capability, *, unchanged: str, hint: str) -> None:
        """Raise :class:`~igny8_backup.errors.UsageError` if the engine lacks ``capability``."""
        if not self.supports(capability):
            raise UsageError(
                f"The database {self.alias!r} is {self.display_name}, which cannot {capability.value}.",
                unchanged=unchanged,
                hint=hint,
            )

    # Capability.LOCK

    def lock_session(self) -> AbstractContextManager[psycopg.Connection[Any]]:
        """Open a session on the primary server, in another database than the live one, to hold a lock in."""
        raise self._lacks(Capability.LOCK)

    # Capability.COPY

    def for_database(self, name: str) -> Self:
        """Return an engine for the same server whose live database is called ``name``."""
        raise self._lacks(Capability.COPY)

    def name_staging(self, staging: str, details: DatabaseDetails) -> None:
        """Rename ``staging`` to the live name, which no database has, with the recorded privileges.

        Raises as :meth:`swap`.
        """
        raise self._lacks(Capability.COPY)

    def stale_staging_databases(self) -> list[str]:
        """List staging databases without sessions, which interrupted restores leave."""
        raise self._lacks(Capability.COPY)

    # Capability.OVERRIDE

    def roles(self) -> tuple[str, frozenset[str]]:
        """Return the role that restores, and all roles of the server."""
        raise self._lacks(Capability.OVERRIDE)

    # Capability.IN_PLACE

    def in_place_blockers(self, part: DatabasePart, details: DatabaseDetails, blocks: Blocks) -> list[str]:
        """Return why the dump ``blocks`` cannot replace what the live database holds; reads its head only."""
        raise self._lacks(Capability.IN_PLACE)

    def restore_in_place(
        self, blocks: Blocks, details: DatabaseDetails, selection: RestoreSelection
    ) -> tuple[str, ...]:
        """Replace what the live database holds in one transaction. Return what was left out.

        Raises ``UnfinishedError`` if it is unknown whether the server committed; after any other error
        nothing was changed.
        """
        raise self._lacks(Capability.IN_PLACE)

    # Capability.DRILL

    def dumped_at(self, part: DatabasePart, blocks: Blocks) -> datetime | None:
        """Return when the dump ``blocks`` was made, read from its head; ``None`` if it does not say."""
        raise self._lacks(Capability.DRILL)

    def drill_databases(self) -> tuple[str, ...]:
        """List the databases that interrupted drills have left."""
        raise self._lacks(Capability.DRILL)

    # Capability.SANITIZE

    def triggers_disabled(self, name: str) -> AbstractContextManager[None]:
        """Keep the project's triggers in the database ``name`` from firing; restore them afterwards."""
        raise self._lacks(Capability.SANITIZE)

    def rewrite(self, name: str) -> None:
        """Rewrite the files of the database ``name``, so that they hold no deleted or changed row."""
        raise self._lacks(Capability.SANITIZE)

    def _lacks(self, capability: Capability) -> NotImplementedError:
        return NotImplementedError(f"{type(self).__name__} does not support {capability}")
