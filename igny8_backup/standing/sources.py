"""Find out from the records of two dumps whether a database was replaced by another one.

A new host with the settings of an old one, or a server that was restored from an old copy, makes backups
that look like the newest ones. Two facts reveal such a backup: the identifier of the database server has
changed, or migrations that had been applied are not applied any more.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from igny8_backup.formats.manifest import DatabasePart
from igny8_backup.formats.source import Source
from igny8_backup.humanize import count_in_words


@dataclass(frozen=True, kw_only=True)
class KnownSource:
    """The database server and the migrations that earlier copies of a database have recorded.

    ``identified_by`` is the id of the backup that recorded the server last, ``migrated_by`` that of the
    backup that recorded migrations last. A copy that records only one of these facts leaves the other
    unchanged.
    """

    system_identifier: str = ""
    identified_by: str = ""
    migrations: Source = field(default_factory=Source)
    migrated_by: str = ""

    def after(self, part: DatabasePart, backup_id: str) -> KnownSource:
        """Return these facts, updated by those that ``part``, a copy in the backup ``backup_id``, records."""
        known, source = self, part.source or Source()
        if source.system_identifier:
            known = replace(known, system_identifier=source.system_identifier, identified_by=backup_id)
        if source.migrations_key:
            known = replace(known, migrations=source, migrated_by=backup_id)
        return known


def other_server(part: DatabasePart, known: KnownSource) -> str:
    """Describe that a dump comes from another server than the copies before it; ``""`` if it does not.

    The result is also empty if a restore, an undo or an announced move explains the other server.
    """
    now = part.source.system_identifier if part.source else ""
    if part.expected or not now or not known.system_identifier or now == known.system_identifier:
        return ""
    return (
        f"it comes from another database server (system identifier {now}) than backup {known.identified_by}"
        f" (system identifier {known.system_identifier})"
    )


def migrations_back(part: DatabasePart, known: KnownSource) -> str:
    """Describe how many migrations were applied in earlier copies and are not in this one; ``""`` if none.

    The result is also empty if a restore, an undo or an announced move explains the difference.
    """
    if part.expected or part.source is None or not (lost := known.migrations.lost(part.source)):
        return ""
    verb = "is" if lost == 1 else "are"
    return (
        f"{count_in_words(lost, 'migration')} that backup {known.migrated_by} had applied {verb} not applied"
        " any more"
    )
