"""Lists: objects in storage that hold the digests of other objects, block by block.

A list of packs names packs (objects that several backups share) with their sizes and digests, so that no
manifest has to repeat them. A list of blocks belongs to one backup. It holds digests, block by block, of the
large objects that no other backup shares. A manifest names each list with the SHA-256 of the list, so that
the signature of the manifest covers everything that the list says. Lists can be read without a key.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys, records
from igny8_backup.formats.objects import ListReference, StoredObject

SCHEMA = 1
BLOCK_BYTES = 4 << 20
"""The size in bytes of the blocks whose digests are stored. The last block of an object may be shorter."""
DIGEST_BYTES = 32
"""The size in bytes of the SHA-256 of one block."""
SIZE_LIMIT = 64 << 20
"""The largest size of a list in bytes."""
WRITTEN_SIZE = 16 << 20
"""The size in bytes after which a run begins another list of packs. A list of one pack may be larger."""
PACKS_LIMIT = 100_000
"""The largest number of packs that a manifest may name from one list. A manifest that names more is forged:
a list with so many packs would exceed ``SIZE_LIMIT``."""

_PACKS = keys.SHARED - {"list"}
_SHA256_RE = re.compile("[0-9a-fA-F]{64}")
_RANGE_RE = re.compile("([1-9][0-9]{0,8})(?:-([1-9][0-9]{0,8}))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class PackList(ListReference):
    """A reference in a manifest to a list of packs.

    It also says which packs of the list a tree, or a dump in chunks, needs. ``packs`` maps the ids of the
    runs that wrote the packs to the numbers of the packs, such as ``1-40,42``. ``suffix`` is what the keys of
    these packs end with, such as ``.tar.zst.age``.
    """

    suffix: str
    packs: dict[str, str]

    def pack_keys(self, folder: str) -> Iterator[str]:
        """Yield the keys of the needed packs, those of the earliest run first.

        ``folder`` is the folder of the packs (``keys.pack_folder``). Raises ``ValueError`` if the numbers are
        malformed, or more than ``PACKS_LIMIT``.
        """
        for run, first, last in self.ranges():
            for number in range(first, last + 1):
                yield f"{folder}{keys.pack_name(run, number)}{self.suffix}"

    def ranges(self) -> Iterator[tuple[str, int, int]]:
        """Yield the needed packs, those of the earliest run first: the run, the first and the last number.

        Raises the errors of :meth:`pack_keys`.
        """
        left = PACKS_LIMIT
        for run, numbers in sorted(self.packs.items()):
            for first, last in _ranges(numbers):
                left -= last - first + 1
                if left < 0:
                    raise ValueError(f"it names more than {PACKS_LIMIT} packs of one list")
                yield run, first, last


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedObject:
    """An object in a list. The fields other than ``blocks`` have the same meaning as in ``StoredObject``.

    ``blocks`` are the SHA-256 digests of the blocks of the object, one after the other, in base64. It may be
    empty for an object of one block, whose digest is ``sha256``, and for one that an earlier release stored.
    """

    key: str
    stored_bytes: int
    raw_bytes: int
    sha256: str
    codecs: tuple[str, ...]
    blocks: str = ""

    def as_stored(self) -> StoredObject:
        """Return the object as a manifest would name it."""
        return StoredObject(
            key=self.key,
            stored_bytes=self.stored_bytes,
            raw_bytes=self.raw_bytes,
            sha256=self.sha256.lower(),
            codecs=self.codecs,
        )

    def digests(self) -> bytes:
        """Return the digests of the blocks, one after the other; nothing if they are not known."""
        if self.blocks:
            return base64.b64decode(self.blocks, validate=True)
        return bytes.fromhex(self.sha256) if self.stored_bytes <= BLOCK_BYTES else b""


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectList:
    """A list as it is stored. ``id`` is that of the run that wrote it on the machine ``host``.

    ``block_bytes`` is the size of the blocks in bytes.
    """

    schema: int
    id: str
    host: str
    block_bytes: int
    objects: tuple[ListedObject, ...]


def blocks_key(backup_id: str) -> str:
    """Return the key of the list of blocks of a backup."""
    return f"{keys.BACKUPS}{backup_id}/blocks.json"


def list_key(host: str, backup_id: str, number: int) -> str:
    """Return the key of a list of packs that the run ``backup_id`` of ``host`` has written.

    ``number`` counts the lists of this run from 1.
    """
    return f"{keys.PACKS}{host}/{backup_id}-{number:04d}.json"


def in_base64(digests: bytes) -> str:
    """Return the digests of the blocks of an object as ``ListedObject`` stores them."""
    return base64.b64encode(digests).decode()


def read_list(data: bytes, key: str) -> ObjectList:
    """Parse the list ``data``, whose key is ``key``.

    The caller must have compared the SHA-256 of ``data`` with that in the manifest. Raises
    :class:`IntegrityError` if the list is malformed or from a newer release, if it was made for another host
    or run, or if it holds an object that does not belong there.
    """
    found = records.from_json(ObjectList, data, name=f"The list {key}", schema=SCHEMA)
    parsed = keys.parse(key)
    problem = ""
    if parsed is None or parsed.kind not in ("list", "blocks"):
        problem = "its key is not that of a list"
    elif found.id != parsed.backup_id or (parsed.host and found.host != parsed.host):
        problem = f"it is that of run {found.id!r} of host {found.host!r}"
    elif found.block_bytes != BLOCK_BYTES:
        problem = f"its blocks have {found.block_bytes} bytes"
    elif len({item.key for item in found.objects}) < len(found.objects):
        problem = "it holds an object twice"
    elif wrong := next((item for item in found.objects if not _belongs(item, found, parsed)), None):
        problem = f"it holds the object {wrong.key!r}, which does not belong there"
    elif bad := next((item for item in found.objects if not _is_sound(item)), None):
        problem = f"the sizes or digests of {bad.key!r} are malformed"
    if problem:
        raise IntegrityError(f"The list {key} is malformed: {problem}.", unchanged="Nothing was changed.")
    return found


def is_sha256(text: str) -> bool:
    """Return whether ``text`` is a SHA-256 in hexadecimal digits."""
    return _SHA256_RE.fullmatch(text) is not None


def may_list(parsed: keys.Key, host: str) -> bool:
    """Return whether a list of packs of ``host`` is allowed to name an object with the key ``parsed``."""
    return parsed.kind in _PACKS and parsed.host == host


def has_sound_blocks(blocks: str, stored_bytes: int) -> bool:
    """Return whether ``blocks`` can be the digests in base64 of an object of ``stored_bytes`` bytes."""
    try:
        digests = base64.b64decode(blocks, validate=True)
    except (binascii.Error, ValueError):
        return False
    return not digests or len(digests) == -(-stored_bytes // BLOCK_BYTES) * DIGEST_BYTES


def as_ranges(numbers: Iterable[int]) -> str:
    """Return ``numbers`` as ``PackList.packs`` stores them: ``1-3,7`` for 1, 2, 3 and 7."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def _ranges(text: str) -> Iterator[tuple[int, int]]:
    """Yield the ranges of ``text``, such as ``1-40,42``: the first and the last number of each.

    Raises ``ValueError`` if the text is malformed.
    """
    previous = 0
    for piece in text.split(","):
        match = _RANGE_RE.fullmatch(piece)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not previous < first <= last:
            raise ValueError(f"{text[:50]!r} does not number packs")
        yield first, last
        previous = last


def _belongs(item: ListedObject, found: ObjectList, of: keys.Key) -> bool:
    """Return whether the list ``found``, whose parsed key is ``of``, is allowed to name the object ``item``.

    A list of packs names packs of its host only; a list of blocks names objects of its backup only.
    """
    parsed = keys.parse(item.key)
    if parsed is None:
        return False
    if of.kind == "list":
        return may_list(parsed, found.host)
    return parsed.kind in ("details", "database", "runs", "index", "folders") and parsed.backup_id == found.id


def _is_sound(item: ListedObject) -> bool:
    sound = is_sha256(item.sha256) and item.stored_bytes >= 0 and item.raw_bytes >= 0
    return sound and has_sound_blocks(item.blocks, item.stored_bytes)
