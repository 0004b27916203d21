"""Read the stored objects of a tree to their end and compare them with the index; nothing is written."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import closing

from igny8_backup.streams import BLOCK, Blocks
from igny8_backup.streams.pipeline import BlockReader
from igny8_backup.trees.model.damage import damaged
from igny8_backup.trees.model.names import escape, order
from igny8_backup.trees.model.records import Record
from igny8_backup.trees.tar.format import read_tar

_TYPES = {"dir": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE}


def check_pack(blocks: Blocks, records: Iterable[Record]) -> None:
    """Read a pack and compare it with ``records``, those of the index that name this pack, in order.

    A member without a record is no longer needed, and skipped. Raises ``IntegrityError`` for a record without
    a member, for another size or digest, and for a pack that is no valid tar.
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
                raise damaged(f"{escape(record.path)!r} is not the file that the index describes.")
            record = next(wanted, None)
    if record is not None:
        raise damaged(f"The pack does not hold the file {escape(record.path)!r} that the index names.")


def packs_not_confirmed(records: Iterable[Record], checked: Iterable[Record]) -> set[str]:
    """The packs with a file in ``records`` that ``checked`` does not have in the same pack, size and digest.

    Both are indexes, in their order; memory does not grow with them.
    """
    found: set[str] = set()
    files = (record for record in checked if record.kind == "file")
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
    """Read the tar of folders and links and compare it with ``records``, all those of the index.

    Raises ``IntegrityError`` unless the tar holds exactly these folders, symlinks and hard links in order.
    """
    expected = (_member(record) for record in records if record.kind in _TYPES)
    with closing(blocks):
        for found in _members(blocks):
            if found != next(expected, None):
                raise damaged(
                    f"The tar of folders holds {escape(found[1])!r} where the index has another entry."
                )
    if (missing := next(expected, None)) is not None:
        raise damaged(f"The tar of folders does not hold {escape(missing[1])!r} that the index names.")


def _member(record: Record) -> tuple[bytes, bytes, bytes]:
    prefix = b"./" if record.kind == "hardlink" else b""
    return _TYPES[record.kind], b"./" + record.path if record.path else b".", prefix + record.target


def _members(blocks: Blocks) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Type, name and target of each member; the stream is read to its end."""
    with BlockReader(blocks) as reader:
        try:
            with tarfile.open(fileobj=reader, mode="r|", errors="surrogateescape") as archive:
                while (member := archive.next()) is not None:
                    archive.members.clear()  # type: ignore[attr-defined]  # or all would stay in memory
                    yield member.type, os.fsencode(member.name), os.fsencode(member.linkname)
        except tarfile.TarError as error:
            raise damaged(f"The tar of folders cannot be read ({error}).") from None
        while reader.read(BLOCK):
            pass
