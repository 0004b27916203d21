"""Collect the documents of a storage in one object, from which an empty machine reads them in one request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from igny8_backup.catalog.snapshot import collected
from igny8_backup.catalog.snapshot.snapshot_store import SnapshotStore
from igny8_backup.errors import StorageError
from igny8_backup.formats.keys import COLLECTED
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.read.snapshot import snapshot_store
from igny8_backup.store import Stored

LEAST = 500
"""With fewer documents that can be collected, the object is not worth its space."""
NEW_LIMIT = 250
"""The object is stored again when more documents than this are newer, or a tenth of all."""
_AT_ONCE = 256


def collect_documents(context: BackupContext, snapshot: BackupContext) -> None:
    """Store copies of the documents in the storage in one object, if that saves other machines requests.

    ``snapshot`` shows the storage as it is now. Only documents that this host has read already are collected.
    Nothing is done if the storage does not list the MD5 of documents (a folder does not), or if the present
    object has most of them. A failure is shown as a note, because nothing depends on the object.
    """
    shown = snapshot_store(snapshot)
    documents = [item for item in shown.documents() if item.md5]
    if len(documents) < LEAST or not _is_due(documents, shown.listed(COLLECTED)):
        return
    data = _copies(shown, documents)
    if not data:
        return
    try:
        context.store.put_small(COLLECTED, data)
    except StorageError as error:
        context.progress.note(
            f"The copies of documents in {COLLECTED} were not renewed: {error.what} The next prune_backups"
            " tries again. Until then, the first list on a machine that has read nothing yet takes longer."
        )


def _is_due(documents: Sequence[Stored], present: Stored | None) -> bool:
    """Return whether many of the ``documents`` were written after the object ``present``."""
    if present is None or present.modified is None:
        return True
    then = present.modified
    newer = sum(1 for item in documents if item.modified is None or item.modified > then)
    return newer > min(NEW_LIMIT, len(documents) // 10)


def _copies(snapshot: SnapshotStore, documents: Sequence[Stored]) -> bytes:
    """Return the object with copies of those ``documents`` that this host has read; nothing if few are.

    If this host has read few, the present object, perhaps of a host that has read more, is the better one.
    """
    count = 0

    def known() -> Iterator[tuple[Stored, bytes]]:
        nonlocal count
        for start in range(0, len(documents), _AT_ONCE):
            some = documents[start : start + _AT_ONCE]
            contents = snapshot.known(some)
            for item in some:
                if item.key in contents and collected.is_copy(item, contents[item.key]):
                    count += 1
                    yield item, contents[item.key]

    data = b"".join(collected.copied(known()))
    enough = count >= max(LEAST, len(documents) // 2)
    return data if enough and len(data) <= collected.LARGEST_OBJECT else b""
