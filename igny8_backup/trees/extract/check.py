"""Compare the stored tars of a tree with its index (its list of files, folders and links); write nothing."""

from __future__ import annotations

import hashlib
import itertools
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing

from igny8_backup.errors import IntegrityError
from igny8_backup.streams import BLOCK, Blocks, Views
from igny8_backup.streams.block_reader import BlockReader
from igny8_backup.trees.model.damage import damaged
from igny8_backup.trees.model.names import escape, order
from igny8_backup.trees.model.records import Record
from igny8_backup.trees.tar.format import Member, read_tar

_TYPES = {"dir": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE}


def read_pack(
    blocks: Views,
    records: Iterable[Record],
    read: Callable[[Member, Record], IntegrityError | None],
    copy: Callable[[Record, Record], object],
) -> None:
    """Call ``read`` with each file of a pack (tar of files) and the record of that file in the index.

    ``records`` are the index records that name this pack, in the order of their paths in it
    (``stored_path``). Members without a record are skipped, because this backup does not need them. ``read``
    returns an error if the member is not the file that the record describes. If several records have the same
    path in the pack, ``copy`` is called with the first one, which was read, and each of the others.

    A file that changed while it was backed up has two members in a row, and the second one counts. So an
    error that ``read`` returns is raised only if the next member has another path. Also raises
    ``IntegrityError`` if a record has no member or the pack is not a valid tar.
    """
    wanted = iter(records)
    record = next(wanted, None)
    last: Record | None = None
    error: IntegrityError | None = None

    def copy_last() -> Record | None:
        following = record
        while last and error is None and following and following.stored_path == last.stored_path:
            _require_same(following, last)
            copy(last, following)
            following = next(wanted, None)
        return following

    with closing(blocks):
        for member in read_tar(blocks):
            if last is not None and member.path == last.stored_path:
                error = read(member, last)
                continue
            record = copy_last()
            if error is not None:
                break
            if record is not None and order(member.path) >= order(record.stored_path):
                if member.path != record.stored_path:
                    break
                error = read(member, record)
                last, record = record, next(wanted, None)
        else:
            record = copy_last()
    if error is not None:
        raise error
    if record is not None:
        raise damaged(
            f"The pack {record.pack} does not hold the file {escape(record.stored_path)!r} that the index"
            " names."
        )


def _require_same(record: Record, stored: Record) -> None:
    """Raise ``IntegrityError`` unless both records describe the same contents."""
    if (record.size, record.sha256) != (stored.size, stored.sha256):
        raise _different(record)


def check_pack(blocks: Blocks, records: Iterable[Record]) -> None:
    """Read a pack (tar) and compare its files with their records in the index.

    Arguments and errors are those of ``read_pack``.
    """
    read_pack(blocks, records, _compare, copy=lambda first, other: None)


def _compare(member: Member, record: Record) -> IntegrityError | None:
    digest = hashlib.sha256()
    for piece in member.contents:
        digest.update(piece)
    if (member.size, digest.hexdigest()) == (record.size, record.sha256):
        return None
    return _different(record)


def _different(record: Record) -> IntegrityError:
    return damaged(f"{escape(record.path)!r} is not the file that the index describes.")


def packs_not_confirmed(records: Iterable[Record], checked: Iterable[Record]) -> set[str]:
    """Return the names of the packs (tars) that must be read again.

    Two backups share these packs. The packs were read and compared with ``checked``, the records of files in
    the index of the first backup. ``records`` are those of the second backup. A pack must be read again if
    ``checked`` has no file with the same pack, path in it, size and digest as a file in ``records``. The
    files may have other paths in the tree: they were renamed or copied. Both must be in the order of the
    paths in the packs (``stored_path``). They are read one by one, so memory use does not grow with their
    number.
    """
    found: set[str] = set()
    paths = itertools.groupby(checked, lambda record: record.stored_path)
    path: bytes | None = None
    contents: set[tuple[str, int, str]] = set()  # of the files in ``checked`` with this path
    for record in records:
        wanted = order(record.stored_path)
        while path is None or order(path) < wanted:
            following = next(paths, None)
            if following is None:
                break
            path, contents = following[0], set(map(_contents, following[1]))
        if path != record.stored_path or _contents(record) not in contents:
            found.add(record.pack)
    return found


def _contents(file: Record) -> tuple[str, int, str]:
    return file.pack, file.size, file.sha256


def check_folders(blocks: Blocks, records: Iterable[Record]) -> None:
    """Read the tar of folders and links and compare it with ``records``, all records of the index.

    Raises ``IntegrityError`` unless the tar holds exactly these folders, symlinks and hard links, in order.
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
    """Yield the type, name and link target of each member of a tar, and read the stream to its end."""
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
