"""Store objects of backups again, with a header for other recipients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from igny8_backup.formats.documents.rotation import rotated_key
from igny8_backup.formats.lists import BLOCK_BYTES, ListedObject
from igny8_backup.formats.objects import StoredObject
from igny8_backup.operations.backup.lists import listed_object
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.rotate.journal import Journal
from igny8_backup.operations.transfer.download import read_checked
from igny8_backup.store import MissingObjectError
from igny8_backup.streams import Blocks
from igny8_backup.streams.age import Identity, rewrap
from igny8_backup.streams.observe import BlockDigests, count


@dataclass(frozen=True)
class Rewriter:
    """Stores objects with a header for the recipients of ``journal``; ``identities`` open the old headers."""

    context: BackupContext
    journal: Journal
    identities: Sequence[Identity]

    def store(self, item: StoredObject) -> ListedObject:
        """Store ``item`` with its new header under a new key, unless the journal says that this was done.

        Every block of the stored object is compared with its digest before it is stored again. Raises
        ``IntegrityError`` if the object is damaged, ``IdentityError`` if no identity opens it,
        ``StorageError`` and ``FilesError``.
        """
        made = self.journal.find(item)
        if made and self._is_stored(made):
            self.context.progress.advance(item.stored_bytes, count=1)
            return made
        key = rotated_key(item.key, self.journal.token)
        if self.context.store.exists(key):  # by an attempt that was killed before the journal named it
            self.context.store.delete(key)
        digests = BlockDigests(BLOCK_BYTES)
        read = count(self._read(item), self.context.progress.advance)
        changed = digests.watch(rewrap(read, self.identities, self.journal.recipients))
        self.context.store.put(key, changed, estimate=item.stored_bytes, claimed=True)
        new = replace(item, key=key, stored_bytes=digests.size, sha256=digests.sha256)
        made = listed_object(new, digests.blocks)
        self.journal.add(item, made)
        self.context.progress.advance(0, count=1)
        return made

    def _read(self, item: StoredObject) -> Blocks:
        """Return the stored bytes of an object, each block of which is checked before it is yielded."""
        context = self.context
        digests = partial(context.lists.digests, context.store)
        return read_checked(context.read_intact(item), digests, item, before_use=True)

    def _is_stored(self, made: ListedObject) -> bool:
        try:
            return self.context.store.size(made.key) == made.stored_bytes
        except MissingObjectError:
            return False
