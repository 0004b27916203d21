"""Find backups whose manifest somebody deleted in a bucket that keeps versions.

In such a bucket, a deletion only hides the manifest under a delete marker. If the run record was deleted too,
the earlier versions are the only trace of the backup.
"""

from __future__ import annotations

from collections.abc import Collection

from igny8_backup.catalog.removals import Removals
from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.run_record import RunRecord
from igny8_backup.formats.manifest import SCHEMA
from igny8_backup.operations.context import BackupContext
from igny8_backup.store import UnreachableError


def hidden_backups(context: BackupContext, existing: Collection[str]) -> dict[str, str]:
    """Return the backups whose manifest is under a delete marker although no record says they were removed.

    The result maps the id of each to its host, ``""`` if that is not known. ``existing`` are the ids of the
    backups whose manifest is not under a delete marker. Raises ``StorageError``.
    """
    found: dict[str, str] = {}
    removals = Removals(context.store, context.config.trust)
    for key in context.store.hidden(keys.BACKUPS):
        parsed = keys.parse(key)
        if parsed is None or parsed.kind != "manifest" or parsed.backup_id in existing:
            continue
        run = context.catalog.run(parsed.backup_id) or _hidden_record(context, parsed.backup_id)
        if not removals.explain(parsed.backup_id, run):
            found[parsed.backup_id] = run.host if run else ""
    return found


def hidden_text(context: BackupContext, backup_id: str) -> str:
    """Return a sentence about a backup that :func:`hidden_backups` found, and what to do."""
    return (
        f"The manifest of backup {backup_id} was deleted from {context.store.describe()}, and no record says"
        " that the backup was removed on purpose. The bucket still keeps its last version: to bring it back,"
        f" delete the marker on top of it. If this is intended, run: accept_backup {backup_id} --lost"
    )


def _hidden_record(context: BackupContext, backup_id: str) -> RunRecord | None:
    """Read the run record of a backup from its newest version that is not a delete marker.

    Returns ``None`` if there is no such version, or if it cannot be read.
    """
    key = keys.run_key(backup_id)
    for version in context.store.versions(key):
        if version.size is not None:
            try:
                data = b"".join(context.store.open_version(key, version))
                return records.from_json(RunRecord, data, name=key, schema=SCHEMA)
            except UnreachableError:
                raise
            except (IntegrityError, StorageError):
                return None
    return None
