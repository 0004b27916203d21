"""Read a file of more than ``BLOCK`` bytes as a member of a tar."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator

from igny8_backup.trees.archive import reader
from igny8_backup.trees.archive.folders import file_header
from igny8_backup.trees.archive.reader import OpenedFile
from igny8_backup.trees.fs.sparse import ZEROS
from igny8_backup.trees.tar import format as tar


def large_member(
    file: OpenedFile, count: Callable[[int], object], report: Callable[[], object]
) -> Generator[bytes, None, None]:
    """Yield an open file as a member of a tar, in pieces of at most ``BLOCK`` bytes.

    Sets ``sha256``, ``stable``, ``racy`` and ``error`` of the file. ``count`` is called with the number of
    bytes of each piece of contents, and with a negative number if they have to be read again. ``report`` is
    called between two pieces.

    If the file shrinks meanwhile, zeros replace the missing bytes. A file that changes while it is read is
    yielded once more under the same name; a restore uses the later member.
    """
    for last in (False, True):
        size = file.size
        file.racy = reader.is_racy(file)
        sha256 = hashlib.sha256()
        yield file_header(file)
        at = 0
        while at < size:
            if at:
                report()
            piece = reader.read_piece(file, at)
            sha256.update(piece)
            at += len(piece)
            count(len(piece))
            yield piece
        yield ZEROS[: tar.padding(size)]
        status = os.fstat(file.fd)
        file.stable = reader.is_same(file, status)
        if file.stable or last or file.error:
            break
        count(-size)
        file.update(status)
    file.sha256 = sha256.hexdigest()
