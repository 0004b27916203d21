"""Safety copies: the backups that restores in place make before they change a database.

The manifest of a safety copy says that it is one, so retention keeps it until somebody releases it. A release
is an annotation: a separate object in storage. The host also remembers its last restore in place, in
``STATE_DIR/in-place.json``, so that ``undo_restore`` can find it without the storage.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from igny8_backup.catalog.annotations import read_annotations
from igny8_backup.catalog.backups import Entry
from igny8_backup.common.filesystem import replace_file
from igny8_backup.formats import keys
from igny8_backup.formats.documents.annotations import SCHEMA, Annotations, Release
from igny8_backup.formats.manifest import Manifest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.documents import manifest_digest, store_signed
from igny8_backup.signing.trust import RELEASE


@dataclass(frozen=True)
class InPlace:
    """A restore in place of the database ``alias``: the id of the safety copy, and when the restore ended."""

    alias: str
    saved: str
    ended: datetime


def remember_in_place(context: BackupContext, alias: str, saved: str) -> None:
    """Remember that the database ``alias`` was restored in place, and that ``saved`` is its safety copy."""
    content = {"alias": alias, "saved": saved, "ended": context.clock().isoformat()}
    with suppress(OSError):  # the result of the restore names the safety copy, too
        replace_file(_file(context), json.dumps(content).encode())


def last_in_place(context: BackupContext) -> InPlace | None:
    """Return the last restore in place on this host; ``None`` if this host has released its safety copy."""
    try:
        found = json.loads(_file(context).read_bytes())
        return InPlace(str(found["alias"]), str(found["saved"]), datetime.fromisoformat(found["ended"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _file(context: BackupContext) -> Path:
    return context.config.state_dir / "in-place.json"


def is_held(context: BackupContext, backup_id: str) -> bool:
    """Return whether the backup is a safety copy that was not released."""
    entries = [entry for entry in context.catalog.entries([backup_id]) if entry.manifest]
    return bool(_held(context, entries, backup_id))


def held_copies(context: BackupContext) -> list[Manifest]:
    """Return the safety copies of this host that were not released, newest first."""
    return [item for item in _held(context, context.catalog.entries()) if item.host == context.config.host]


def _held(context: BackupContext, entries: list[Entry], backup_id: str = "") -> list[Manifest]:
    found = [entry.manifest for entry in entries if entry.manifest and entry.manifest.safety]
    if not found:
        return []
    annotations = read_annotations(
        context.store, backup_id, trust=context.config.trust, entries=entries, checks={}
    )
    return [item for item in found if not annotations.get(item.id, Annotations()).release]


def release(context: BackupContext, backup_id: str) -> None:
    """Store a release, so that the retention policy applies to the safety copy from now on."""
    made = Release(
        schema=SCHEMA,
        id=backup_id,
        released=context.clock(),
        manifest_sha256=manifest_digest(context, backup_id),
    )
    store_signed(context, keys.release_key(backup_id), RELEASE, made)
    last = last_in_place(context)
    if last and last.saved == backup_id:
        with suppress(OSError):
            _file(context).unlink()
