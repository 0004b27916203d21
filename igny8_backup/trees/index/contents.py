"""Find stored contents by size and SHA-256, for files that were renamed, moved or copied.

Entry point: ``KnownContents``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator

from igny8_backup.streams import BLOCK
from igny8_backup.trees.index.index import LINE_LIMIT
from igny8_backup.trees.index.lines import Stored, stored_contents
from igny8_backup.trees.model.names import unescape

SMALLEST = 1000
"""Smallest size, in bytes, of a file that is looked up. To store a smaller one costs hardly more."""

# A bucket holds entries: eight digits of the digest, as bytes, and the offset of the line. Many small buckets
# would take more memory than the entries.
_LINES = re.compile(
    rb',"size":([0-9]{4,}),"mtime_ns":[-0-9]+,"ctime_ns":[-0-9]+,"inode":[0-9]+(?:,"racy":true)?'
    rb',"sha256":"([0-9a-f]{64})","pack":"([^"]*)"'
)
_BLOCK = 128 << 10
_SMALL_DIGITS = len(str(BLOCK)) - 1
_DIGEST, _OFFSET = 4, 5
_ENTRY = _DIGEST + _OFFSET
_BUCKETS = 4096
_SIZE_BITS = 23


class KnownContents:
    """The contents of the files of at least ``SMALLEST`` bytes in the index of the last backup.

    ``index`` is a descriptor of the index, a private file that this host wrote itself. Contents in the packs
    (tars) ``packs_to_rewrite`` are not found. ``found`` counts how often contents were found. The index is
    read when the first file is looked up. Memory for a million files: 15 MiB.
    """

    def __init__(self, index: int, packs_to_rewrite: Collection[str] = ()) -> None:
        self.found = 0
        self._index = index
        self._packs_to_rewrite = frozenset(map(str.encode, packs_to_rewrite))
        self._buckets: dict[int, bytearray] = {}
        self._large = bytearray()  # one bit for each hash of a large size; empty until the index is read

    def may_hold(self, size: int) -> bool:
        """Return whether contents of ``size`` bytes may be known.

        For sizes from ``SMALLEST`` to ``BLOCK``, the result is always true. The first larger size reads the
        index.
        """
        if size <= BLOCK:
            return size >= SMALLEST
        if not self._large:
            self._read()
        bit = _bit(size)
        return bool(self._large[bit >> 3] & 1 << (bit & 7))

    def find(self, size: int, sha256: str) -> Stored | None:
        """Return where contents of this size in bytes and this digest (hexadecimal) are stored, if known.

        The path in the pack is always set. Raises ``IntegrityError`` if the index is damaged.
        """
        if size < SMALLEST:
            return None
        if not self._large:
            self._read()
        number, key = _place(sha256.encode())
        for offset in _matches(self._buckets.get(number, bytearray()), key):
            line = self._line(offset)
            found = stored_contents(line)
            if found.sha256 == sha256 and b',"size":%d,' % size in line:
                self.found += 1
                return found._replace(member=found.member or unescape(json.loads(line)["path"]))
        return None

    def _read(self) -> None:
        self._large = bytearray(1 << _SIZE_BITS - 3)
        buckets, rewritten = self._buckets, self._packs_to_rewrite
        at, rest = 0, b""
        while block := os.pread(self._index, _BLOCK, at + len(rest)):
            block = rest + block
            end = block.rfind(b"\n") + 1
            for match in _LINES.finditer(block, 0, end):
                size, sha256, pack = match.groups()
                if pack in rewritten:
                    continue
                number, key = _place(sha256)
                bucket = buckets.setdefault(number, bytearray())
                # Equal contents need one entry. Of different ones with the same digits, the first is found.
                if bucket.find(key) % _ENTRY:
                    line = at + block.rfind(b"\n", 0, match.start()) + 1
                    bucket += key + line.to_bytes(_OFFSET, "big")
                    if len(size) > _SMALL_DIGITS:
                        bit = _bit(int(size))
                        self._large[bit >> 3] |= 1 << (bit & 7)
            at, rest = at + end, block[end:]

    def _line(self, offset: int) -> bytes:
        size = 4096
        while True:
            line, end, _ = os.pread(self._index, size, offset).partition(b"\n")
            if end or size > LINE_LIMIT:
                return line
            size *= 8


def _place(sha256: bytes) -> tuple[int, bytes]:
    """Return the number of the bucket of a digest, and the part of the digest that is in its entry.

    Whoever writes files can choose digits of their digests, and one large bucket would take hours to fill.
    So ``hash`` chooses the bucket: nobody can foresee its result.
    """
    return hash(sha256) % _BUCKETS, bytes.fromhex(sha256[:8].decode())


def _matches(bucket: bytearray, key: bytes) -> Iterator[int]:
    """Yield the offset in each entry of ``bucket`` that begins with ``key``."""
    at = -1
    while (at := bucket.find(key, at + 1)) >= 0:
        if at % _ENTRY == 0:
            yield int.from_bytes(bucket[at + _DIGEST : at + _ENTRY], "big")


def _bit(size: int) -> int:
    """Return the number of the bit for files of this size. Different sizes seldom share one."""
    return size * 0x9E3779B1 & (1 << _SIZE_BITS) - 1
