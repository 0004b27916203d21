"""Read stored objects, and check their bytes before they are decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from functools import partial

from igny8_backup.common.humanize import count_in_words, size_in_words
from igny8_backup.errors import IdentityError, IntegrityError, StorageError, damaged_backup
from igny8_backup.formats.lists import BLOCK_BYTES
from igny8_backup.formats.objects import StoredObject
from igny8_backup.store import MissingObjectError
from igny8_backup.streams import Blocks
from igny8_backup.streams.age import Identity
from igny8_backup.streams.observe import checked_by_block, checked_in_two_passes, verified
from igny8_backup.streams.pipeline import decode


def two_pass_notes(objects: Iterable[StoredObject]) -> list[str]:
    """Return a list with one note if some of ``objects`` must be read twice, else an empty list.

    The note is shown in the plan of a restore. Earlier releases of this package stored objects without the
    digests of their blocks. Such an object is read once to check its digest, and a second time to use it.
    """
    twice = [item for item in objects if item.stored_bytes > BLOCK_BYTES and item.blocks_in is None]
    if not twice:
        return []
    size = size_in_words(sum(item.stored_bytes for item in twice))
    return [
        f"{count_in_words(len(twice), 'object')} ({size}) of a backup of an earlier release will be read"
        " twice: first to compare the digest with the signed manifest, then to restore."
    ]


def read_object(
    read: Callable[[], Blocks],
    digests: Callable[[StoredObject], bytes],
    item: StoredObject,
    identities: Sequence[Identity],
    *,
    before_use: bool,
    spares: Sequence[Callable[[], Blocks]] = (),
) -> Blocks:
    """Yield the contents of a stored object, decrypted and decompressed, after a check of the stored bytes.

    ``read`` yields the stored bytes of ``item``. ``digests`` returns the digests of its blocks (see
    ``Lists.digests``). If these digests are known, each block is checked before it is decoded. Otherwise the
    digest of the whole object is checked: if ``before_use`` is true, by reading the object an extra time
    before it is decoded; if not, while it is decoded, with the result only at the end.

    Each of ``spares`` yields the bytes of the same object from another storage. If the object is missing or
    damaged, the bytes that could not be read are taken from there.

    Raises ``IntegrityError`` if the bytes are not those that were stored, ``IdentityError`` if no identity
    can decrypt them, ``StorageError``.
    """
    try:
        known = _known(digests, item)
        streams = [partial(_checked, one, known, item, before_use=before_use) for one in (read, *spares)]
        stored = _first_intact(streams, in_parts=bool(known) or before_use)
        with closing(decode(stored, item.codecs, identities)) as blocks:
            yield from blocks
    except IdentityError as error:
        error.add_context("Nothing live was changed.")
        raise
    except MissingObjectError as error:
        error.object_key = item.key
        raise
    except IntegrityError as error:
        # Decryption and decompression do not know the key of the object.
        what = error.what if item.key in error.what else f"{item.key}: {error.what}"
        damaged = damaged_backup(what)
        damaged.object_key = item.key
        raise damaged from None


def read_checked(
    read: Callable[[], Blocks],
    digests: Callable[[StoredObject], bytes],
    item: StoredObject,
    *,
    before_use: bool,
) -> Blocks:
    """Return the stored bytes of an object, checked like those of :func:`read_object`, but not decoded.

    The arguments are those of :func:`read_object`. Reading raises ``IntegrityError`` and ``StorageError``.
    """
    return _checked(read, _known(digests, item), item, before_use=before_use)


def _first_intact(streams: Sequence[Callable[[], Blocks]], *, in_parts: bool) -> Blocks:
    """Yield the blocks of the first stream. If it is missing or damaged, continue with the next stream.

    ``in_parts``: every block is checked before it is yielded, so another stream can continue after any block.
    Otherwise another stream is used only if nothing was yielded before. If all streams fail, the error of the
    first one is raised.
    """
    passed, first = 0, None
    for open_stream in streams:
        if passed and not in_parts:
            break
        skipped = passed
        try:
            with closing(open_stream()) as blocks:
                for block in blocks:
                    rest = block[min(skipped, len(block)) :]
                    skipped -= len(block) - len(rest)
                    passed += len(rest)
                    if rest:
                        yield rest
            return
        except (MissingObjectError, IntegrityError) as error:
            first = first or error
        except StorageError:
            if first is None:  # the storage itself fails: that is no damage
                raise
    if first:
        raise first


def _checked(read: Callable[[], Blocks], digests: bytes, item: StoredObject, *, before_use: bool) -> Blocks:
    size, key = item.stored_bytes, item.key
    if digests:
        return checked_by_block(read(), digests, block_bytes=BLOCK_BYTES, size=size, name=key)
    if before_use:
        return checked_in_two_passes(read, sha256=item.sha256, block_bytes=BLOCK_BYTES, size=size, name=key)
    return verified(read(), sha256=item.sha256, size=size, name=key)


def _known(digests: Callable[[StoredObject], bytes], item: StoredObject) -> bytes:
    """Return the digests of the blocks of an object; empty if their list is missing or damaged.

    An object without known block digests can still be checked with the digest of the whole object.
    """
    try:
        return digests(item)
    except (IntegrityError, MissingObjectError):
        return b""
