"""The log of an attempt to store a dump: the packs that were stored, and their chunks.

If the attempt ends early, the next dump can use these packs. A log is a private file in ``STATE_DIR``. It
consists of frames: the header, then one frame for each pack. A frame is a length, the data, and their BLAKE2b
digest. A process that is killed leaves at most one incomplete frame, at the end. Entry points:
:func:`read_log`, :func:`start_log`, :func:`continue_log`.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Self

from igny8_backup.chunks.chunk_map import PLACE
from igny8_backup.chunks.cutter import SEED_LIMIT, CutterIdentity
from igny8_backup.chunks.digests import DIGEST_BYTES, is_key
from igny8_backup.errors import IntegrityError
from igny8_backup.formats import records
from igny8_backup.formats.lists import ListedObject

SCHEMA = 1
_LENGTH = struct.Struct("<I")
_RANGE = struct.Struct("<II")
_CHECKSUM_BYTES = 16
_FRAME_LIMIT = 64 << 20
_ENTRY_BYTES = DIGEST_BYTES + _RANGE.size


@dataclass(frozen=True, kw_only=True)
class TryHeader:
    """The header of a log. A log is used only for the same storage, database, recipients and cutter.

    ``key`` (``DigestKey.text``) and ``seed`` are the secrets of this host, as in a map. ``full``: the
    attempt was to store a full dump. ``started`` is when the first attempt began.
    """

    schema: int
    storage: str
    prefix: str
    host: str
    alias: str
    recipients: tuple[str, ...]
    cutter: CutterIdentity
    key: str
    seed: int
    full: bool
    started: datetime


@dataclass(frozen=True)
class TriedDump:
    """The contents of a log. ``end`` is the size in bytes of its complete frames."""

    path: Path
    header: TryHeader
    packs: tuple[ListedObject, ...]
    end: int

    def entries(self) -> Iterator[tuple[int, bytes, int, int]]:
        """Yield the number of the pack, the digest, the offset and the length of each chunk.

        Packs are numbered from 0. Raises ``OSError``.
        """
        with open(self.path, "rb") as file:
            for number, data in enumerate(_frames(file), -1):
                (length,) = _LENGTH.unpack_from(data)
                if 0 <= number < len(self.packs):
                    for at in range(_LENGTH.size + length, len(data), _ENTRY_BYTES):
                        yield (
                            number,
                            data[at : at + DIGEST_BYTES],
                            *_RANGE.unpack_from(data, at + DIGEST_BYTES),
                        )


class TryLog:
    """Writes the log of one attempt to store a dump in chunks. Use it as a context manager.

    Its methods raise ``OSError`` if the file cannot be written.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def add(self, pack: ListedObject, entries: Iterable[bytes]) -> None:
        """Record a pack that storage has, and its chunks: digest, pack number, offset and length of each.

        ``entries`` have the format of a map. Their pack numbers are ignored.
        """
        skipped = DIGEST_BYTES + PLACE.size - _RANGE.size
        ranges = (entry[:DIGEST_BYTES] + entry[skipped:] for entry in entries)
        self._write(records.to_json(pack), b"".join(ranges))

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _write(self, document: bytes, rest: bytes = b"") -> None:
        data = _LENGTH.pack(len(document)) + document + rest
        self._file.write(_LENGTH.pack(len(data)) + data + _checksum(data))
        self._file.flush()


def start_log(path: Path, header: TryHeader) -> TryLog:
    """Begin a new log at ``path``. An existing log is replaced. Raises ``OSError``."""
    with suppress(FileNotFoundError):
        path.unlink()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    log = TryLog(os.fdopen(descriptor, "wb"))
    log._write(records.to_json(header))
    return log


def continue_log(tried: TriedDump) -> TryLog:
    """Continue an existing log after its last complete frame. Raises ``OSError``."""
    descriptor = os.open(tried.path, os.O_WRONLY | os.O_NOFOLLOW)
    os.ftruncate(descriptor, tried.end)
    os.lseek(descriptor, 0, os.SEEK_END)
    return TryLog(os.fdopen(descriptor, "wb"))


def read_log(path: Path) -> TriedDump | None:
    """Read a log; return ``None`` if there is none, or if it is damaged or from another release.

    Raises ``OSError`` if it cannot be read.
    """
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")
    except FileNotFoundError:
        return None
    with file, suppress(IntegrityError, struct.error):
        documents = map(_document, _frames(file))
        first = next(documents, b"")
        header = records.from_json(TryHeader, first, name=str(path), schema=SCHEMA)
        packs = tuple(records.from_json(ListedObject, item, name=str(path), schema=0) for item in documents)
        if is_key(header.key) and 0 <= header.seed < SEED_LIMIT:
            return TriedDump(path, header, packs, _end(file))
    return None


def _frames(file: BinaryIO) -> Iterator[bytes]:
    """Yield the data of the complete frames."""
    file.seek(0)
    while len(start := file.read(_LENGTH.size)) == _LENGTH.size:
        (length,) = _LENGTH.unpack(start)
        if length > _FRAME_LIMIT:
            return
        data = file.read(length)
        if file.read(_CHECKSUM_BYTES) != _checksum(data):
            return
        yield data


def _end(file: BinaryIO) -> int:
    return sum(_LENGTH.size + len(data) + _CHECKSUM_BYTES for data in _frames(file))


def _document(data: bytes) -> bytes:
    (length,) = _LENGTH.unpack_from(data)
    return data[_LENGTH.size : _LENGTH.size + length]


def _checksum(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_CHECKSUM_BYTES).digest()
