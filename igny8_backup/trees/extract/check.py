"""What is stored of a tree, walked to its end and compared with its index; nothing is written."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import closing

from igny8_backup.errors import IntegrityError
from igny8_backup.streams import BLOCK, Blocks
from igny8_backup.streams.pipeline import BlockReader
from igny8_backup.trees.model.names import escape, order
from igny8_backup.trees.model.records import Record
from igny8_backup.trees.tar.format import read_tar

_TYPES = {"dir": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE}


def check_pack(blocks: Blocks, records: Iterable[Record]) -> None:
    """Reads a pack; ``records`` are those that the index places in it, in order.

    A member without a record is dead and passed over. Raises ``IntegrityError`` for a record without a member
    or of another size or digest, and for a pack that is no sound tar.
    """
    wanted = iter(records)
    record = next(wanted, None)
    with closing(blocks):
        for member in read_tar(blocks):
            if record is None or order(member.path) < order(record.path):
                continue
            if member.path != record.path:
                break
            digest = hashlib.sha256()
            for piece in member.contents:
                digest.update(piece)
            if (member.size, digest.hexdigest()) != (record.size, record.sha256):
                raise IntegrityError(f"{escape(record.path)!r} is not the file that the index describes.")
            record = next(wanted, None)
    if record is not None:
        raise IntegrityError(f"The file {escape(record.path)!r} is lacking, which the index places there.")


def otherwise(records: Iterable[Record], known: Iterable[Record]) -> set[str]:
    """The packs in which ``records`` places a file that ``known`` does not place there, with this size and
    this digest. Both are indexes, in their order; memory does not grow with them."""
    found: set[str] = set()
    files = (record for record in known if record.kind == "file")
    other = next(files, None)
    for record in records:
        if record.kind != "file":
            continue
        while other is not None and order(other.path) < order(record.path):
            other = next(files, None)
        if other is None or _stored(other) != _stored(record):
            found.add(record.pack)
    return found


def _stored(file: Record) -> tuple[bytes, str, int, str]:
    return file.path, file.pack, file.size, file.sha256


def check_folders(blocks: Blocks, records: Iterable[Record]) -> None:
    """Reads the tar of folders and links; ``records`` are all of the index.

    Raises ``IntegrityError`` unless it holds exactly these folders, symlinks and hard links, in this order.
    """
    expected = (_member(record) for record in records if record.kind in _TYPES)
    with closing(blocks):
        for found in _members(blocks):
            if found != next(expected, None):
                raise IntegrityError(f"{escape(found[1])!r} is not what the index has at that place.")
    if (lacking := next(expected, None)) is not None:
        raise IntegrityError(f"{escape(lacking[1])!r} is lacking, which the index has.")


def _member(record: Record) -> tuple[bytes, bytes, bytes]:
    prefix = b"./" if record.kind == "hardlink" else b""
    return _TYPES[record.kind], b"./" + record.path if record.path else b".", prefix + record.target


def _members(blocks: Blocks) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Type, name and target of each member; ends when the stream has ended well."""
    with BlockReader(blocks) as reader:
        try:
            with tarfile.open(fileobj=reader, mode="r|", errors="surrogateescape") as archive:
                while (member := archive.next()) is not None:
                    archive.members.clear()  # type: ignore[attr-defined]  # or all would stay in memory
                    yield member.type, os.fsencode(member.name), os.fsencode(member.linkname)
        except tarfile.TarError as error:
            raise IntegrityError(f"The tar of folders cannot be read ({error}).") from None
        while reader.read(BLOCK):
            pass
