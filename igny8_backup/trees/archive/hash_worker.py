"""``python -m igny8_backup.trees.archive.hash_worker FD``: a hash worker, which reads and hashes known files.

The worker is a child of the archive worker. ``hash_client.Hashers`` starts it, sends it batches of files that
may have the contents that an earlier backup holds, and receives the index lines of the files that do.
"""

from __future__ import annotations

import itertools
import os
import pickle
import sys
from collections.abc import Callable, Collection
from contextlib import closing
from typing import Any

from igny8_backup.errors import FilesError
from igny8_backup.streams import BLOCK
from igny8_backup.trees.archive import reader
from igny8_backup.trees.archive.hash_client import Compared, Hashed, Job, KnownFiles, Other
from igny8_backup.trees.index.lines import LinesBuilder, Stored, stored_contents
from igny8_backup.trees.model.entries import Files
from igny8_backup.trees.model.owners import Owners
from igny8_backup.trees.model.xattrs import read_xattrs
from igny8_backup.trees.scan.listed_folders import ListedFolders
from igny8_backup.trees.scan.scan_ahead import UNCHANGED
from igny8_backup.trees.worker_protocol import BATCH, PROGRESS, Message, Parent, run

PROGRESS_PIECES = 64
"""Progress is sent to the archive worker after this number of pieces (``BLOCK`` bytes) of large files."""


class Hasher:
    """Hashes the files of a tree.

    ``folders`` opens them. Files whose pack is in ``packs_to_rewrite`` must be stored again.

    ``on_piece`` is called while a large file is read.
    """

    def __init__(
        self, folders: ListedFolders, packs_to_rewrite: Collection[str], on_piece: Callable[[], object]
    ) -> None:
        self._folders = folders
        self._packs_to_rewrite = packs_to_rewrite
        self._owners = Owners()
        self._buffer = memoryview(bytearray(BLOCK))
        self._on_piece = on_piece

    def compare(self, known: KnownFiles) -> Compared:
        """Return the lines of the files that have the contents of the earlier backup, and the other files.

        Raises ``IntegrityError`` if a line is damaged.
        """
        files = Files(known.prefix, known.names, known.rows, self._owners, known.folders)
        result: Compared = []
        lines = LinesBuilder()
        for number, (prefix, line) in enumerate(zip(known.prefixes, known.lines, strict=True)):
            found = self._compare(files, number, prefix, stored_contents(line) if line else None)
            if isinstance(found, Other):
                if lines:
                    result.append(lines.take())
                result.append(found)
            else:
                file, stored = found
                lines.add(reader.line_of(file, stored), stored.pack, file.path, file.size)
        if lines:
            result.append(lines.take())
        return result

    def _compare(
        self, files: Files, number: int, prefix: bytes, stored: Stored | None
    ) -> Other | tuple[reader.OpenedFile, Stored]:
        """Return a file with ``stored`` if its contents are still the same, else return an ``Other``."""
        if stored and stored.pack in self._packs_to_rewrite:
            return Other(number, store=True)
        file = self._read(files, number, prefix)
        if file is None:
            return Other(number, store=False)
        if stored and stored.sha256 == file.sha256:
            return file, stored
        return Other(number, store=True, hashed=Hashed(file.sha256, file.xattrs, file.racy))

    def _read(self, files: Files, number: int, prefix: bytes) -> reader.OpenedFile | None:
        """Return a file with its digest; None if it is not the file that was listed, or cannot be read.

        A file that changes after it was listed is left to the archive worker, which reads such a file again.
        """
        try:
            file = reader.open_file(self._folders, files, number, prefix, None)
            try:
                file.xattrs = read_xattrs(file.fd)
                if file.size <= BLOCK:
                    reader.read_small(file, self._buffer)
                else:
                    file.sha256 = reader.digest(file, self._on_piece)
                    file.stable = reader.is_same(file, os.fstat(file.fd))
            finally:
                os.close(file.fd)
        except OSError:
            return None
        return file if file.stable and file.prefix else None


def main(fields: dict[str, Any], parent: Parent) -> dict[str, Any]:
    """Answer each batch of the archive worker.

    ``fields`` are the fields of a ``Job`` (``hash_client``) as JSON values.
    """
    job = Job(**fields)
    started_by = os.getppid()

    pieces = itertools.count(1)

    def piece_was_read() -> None:
        if os.getppid() != started_by:  # otherwise the worker could read a large file for an hour in vain
            sys.exit("The parent process has ended.")
        if next(pieces) % PROGRESS_PIECES == 0:
            parent.send(Message(PROGRESS))

    with closing(ListedFolders(_open_root(job.root))) as folders:
        hasher = Hasher(folders, frozenset(job.packs_to_rewrite), piece_was_read)
        while (message := parent.receive()).kind == BATCH:
            batch: list[KnownFiles] = pickle.loads(message.payload)  # noqa: S301 - from our own process
            answer = pickle.dumps(list(map(hasher.compare, batch)), pickle.HIGHEST_PROTOCOL)
            parent.send(Message(BATCH, payload=answer))
    return {}


def _open_root(root: str) -> int:
    try:
        # The root alone may be a symlink: it is named by the settings, not found in the tree.
        return os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise FilesError(
            f"The folder {root} cannot be read: {error.strerror}.",
            unchanged=UNCHANGED,
            hint="Run the backup again.",
        ) from None


if __name__ == "__main__":
    run(main)
