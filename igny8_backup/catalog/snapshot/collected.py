"""The collected documents: an object with copies of documents, which saves a request for each of them.

The object is one frame of zstd. Its content begins with a line of JSON, ``{"schema": 1}``. Then for each
document there is a line of JSON with its ``key`` and its ``size`` in bytes, followed by exactly so many
bytes.

A copy counts only if the storage lists a document with this key, this size, and the MD5 of the copy as its
tag. S3 gives an object that was stored in one request this tag, unless a key of KMS or of the customer
encrypts it. MD5 suffices here: nobody can find other contents with the MD5 of a given document. Only the
author of a document can prepare two contents with one MD5, and could write either of them. Signatures are
checked as if the document had been read from the storage.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from typing import Any

from igny8_backup.catalog.snapshot.documents import LARGEST
from igny8_backup.errors import IntegrityError
from igny8_backup.store import Stored
from igny8_backup.streams import Blocks, zstd

LARGEST_OBJECT = 32 << 20
"""The size in bytes of the largest object of collected documents that is read, and that is stored."""
LARGEST_CONTENT = 256 << 20
"""The largest number of bytes that are decompressed from such an object, and that are put into it."""
AT_ONCE = 1 << 20
"""Copies are handed out together until they have this number of bytes."""
LEVEL = 1
"""The compression level of zstd. Documents are mostly digests: higher levels make the object no smaller."""

_SCHEMA = 1
_FIRST_LINE = b'{"schema": 1}\n'
_LONGEST_LINE = 4096


def copied(documents: Iterable[tuple[Stored, bytes]]) -> Blocks:
    """Yield an object with copies of ``documents``, up to ``LARGEST_CONTENT`` bytes of content."""
    return zstd.compress(_joined(documents), level=LEVEL, workers=0)


def counting(blocks: Blocks, wanted: dict[str, Stored]) -> Generator[dict[Stored, bytes], None, None]:
    """Yield the copies that count in the object ``blocks``, about a MiB at a time, and close the stream.

    ``wanted`` are documents by key, as the storage lists them. Each document that is found is removed there,
    and once none is left, the rest of the object is not read. Raises ``IntegrityError`` if the object is
    malformed, and the errors of ``blocks``. What was yielded before an error counts.
    """
    found: dict[Stored, bytes] = {}
    size = 0
    with closing(zstd.decompress(blocks)) as content:
        for key, document in _Reader(content).documents():
            item = wanted.get(key)
            if item is not None and is_copy(item, document):
                found[wanted.pop(key)] = document
                size += len(document)
            if size >= AT_ONCE:
                yield found
                found, size = {}, 0
            if not wanted:
                break
    yield found


def is_copy(item: Stored, content: bytes) -> bool:
    """Return whether ``content`` has the size and the MD5 with which the storage lists ``item``."""
    return len(content) == item.size and hashlib.md5(content, usedforsecurity=False).hexdigest() == item.md5


def _joined(documents: Iterable[tuple[Stored, bytes]]) -> Blocks:
    total = len(_FIRST_LINE)
    yield _FIRST_LINE
    for item, content in documents:
        line = json.dumps({"key": item.key, "size": len(content)}).encode() + b"\n"
        total += len(line) + len(content)
        if total > LARGEST_CONTENT:
            return
        yield line + content


class _Reader:
    """Reads the documents in the content ``blocks`` of an object."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._some = b""
        self._position = 0
        self._total = 0

    def documents(self) -> Iterator[tuple[str, bytes]]:
        """Yield the key and the content of each document. Raises ``IntegrityError``."""
        if self._line().get("schema") != _SCHEMA:
            raise _malformed()
        while self._position < len(self._some) or self._read_more():
            line = self._line()
            key, size = line.get("key"), line.get("size")
            if not isinstance(key, str) or type(size) is not int or not 0 <= size <= LARGEST:
                raise _malformed()
            yield key, self._bytes(size)

    def _line(self) -> dict[str, Any]:
        """Return the JSON object in the next line."""
        while (end := self._some.find(b"\n", self._position)) < 0:
            if len(self._some) - self._position > _LONGEST_LINE or not self._read_more():
                raise _malformed()
        if end - self._position > _LONGEST_LINE:
            raise _malformed()
        try:
            found = json.loads(self._some[self._position : end])
        except (ValueError, RecursionError):
            raise _malformed() from None
        if not isinstance(found, dict):
            raise _malformed()
        self._position = end + 1
        return found

    def _bytes(self, size: int) -> bytes:
        while len(self._some) - self._position < size:
            if not self._read_more():
                raise _malformed()
        start, self._position = self._position, self._position + size
        return self._some[start : self._position]

    def _read_more(self) -> bool:
        """Read another block; return whether there was one."""
        block = next(self._blocks, b"")
        self._total += len(block)
        if self._total > LARGEST_CONTENT:
            raise _malformed()
        self._some, self._position = self._some[self._position :] + block, 0
        return bool(block)


def _malformed() -> IntegrityError:
    return IntegrityError("The object of collected documents is malformed.")
