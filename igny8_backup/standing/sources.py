"""Find out from the records of two dumps whether a database was replaced by another one.

A new host with the settings of an old one, or a server that was restored from an old copy, makes backups
that look like the newest ones. Two facts reveal such a backup: the identifier of the database server has
changed, or migrations that had been applied are not applied any more.
"""

from __future__ import annotations

from dataclasses import replace

from igny8_backup.common.humanize import count_in_words
from igny8_backup.formats.comparison import Baseline
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.source import Source


def after(part: DatabasePart, backup_id: str, known: Baseline) -> Baseline:
    """Return the facts in ``known``, updated by those that ``part``, a copy in ``backup_id``, records.

    A copy that records only the server, or only the migrations, leaves the other fact unchanged.
    """
    found, source = known.source, part.source or Source()
    if source.system_identifier:
        found = replace(found, system_identifier=source.system_identifier)
        known = replace(known, identified_by=backup_id)
    if source.migrations_key:
        found = replace(source, system_identifier=found.system_identifier)
        known = replace(known, migrated_by=backup_id)
    return replace(known, source=found)


def other_server(part: DatabasePart, known: Baseline) -> str:
    """Return a clause if a dump comes from another server than the copies before it, else ``""``.

    The result is also empty if a restore, an undo or an announced move explains the other server.
    """
    now = part.source.system_identifier if part.source else ""
    then = known.source.system_identifier
    if part.expected or not now or not then or now == then:
        return ""
    return (
        f"it comes from another database server (system identifier {now}) than backup {known.identified_by}"
        f" (system identifier {then})"
    )


def migrations_back(part: DatabasePart, known: Baseline) -> str:
    """Return a clause if migrations that earlier copies had applied are not applied in this one, else ``""``.

    The result is also empty if a restore, an undo or an announced move explains the difference.
    """
    if part.expected or part.source is None or not (lost := known.source.lost(part.source)):
        return ""
    verb = "is" if lost == 1 else "are"
    return (
        f"{count_in_words(lost, 'migration')} that backup {known.migrated_by} had applied {verb} not applied"
        " any more"
    )
