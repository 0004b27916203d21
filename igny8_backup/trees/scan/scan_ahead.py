"""Walk a tree in a second process, ahead of the archive worker that compares and reads its files.

When little has changed, half of the work of a backup is to list folders and to call ``lstat``. The second
process (``scanner_process``) is a worker of the archive worker (``worker_protocol``). It sends one message
for each run of files, each folder, each symlink and each skipped path. Messages are sent in batches: each
batch is a stream that holds a pickled list of messages.
"""

from __future__ import annotations

import base64
import os
import pickle
from collections.abc import Collection, Generator
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from pathlib import Path
from typing import NamedTuple, TypeAlias

from igny8_backup.errors import FilesError, ToolError
from igny8_backup.trees.model.entries import Entry, Files, Identities, Row
from igny8_backup.trees.model.facts import Facts
from igny8_backup.trees.model.skips import REPLACED, OnSkip
from igny8_backup.trees.model.xattrs import Xattrs
from igny8_backup.trees.scan.listed_folders import ListedFolders
from igny8_backup.trees.scan.scan import Excluded, Scan
from igny8_backup.trees.worker_protocol import END, Worker, start_worker

UNCHANGED = "This tree is not in the backup."


class FileRun(NamedTuple):
    """Message: a run of files.

    The fields are those of ``entries.Files`` without ``owners``; ``names`` are joined by slashes.
    """

    prefix: bytes
    names: bytes
    rows: list[Row]


class NonFile(NamedTuple):
    """Message: a folder or symlink. ``xattrs`` are the extended attributes of a folder."""

    entry: Entry
    xattrs: Xattrs


class Skipped(NamedTuple):
    path: bytes
    reason: str


ScanMessage: TypeAlias = NonFile | FileRun | Skipped


def start_scanner() -> AbstractContextManager[Worker]:
    """Start a scanner process for one tree. Raises ``ToolError``."""
    return start_worker("igny8_backup.trees.scan.scanner_process")


class ScanAhead(Scan):
    """A ``Scan`` (walk over a tree) that runs in a process of its own, some thousand files ahead.

    Both the scanner process and this process open the root, and this process makes sure that both have the
    same folder. To open a file, this process also opens the folder of the file, as safely as ``Scan`` does
    (``ListedFolders``). If another folder has taken its place, its files are skipped as replaced.

    ``worker`` is a scanner process that was started in advance; if it is None, one is started. ``excluded``
    is pickled and sent to the scanner process. Raises the errors of ``Scan``, and also ``FilesError`` if the
    scanner process cannot be started or is killed.
    """

    def __init__(
        self,
        root: Path,
        *,
        on_skip: OnSkip,
        excluded: Excluded | None = None,
        exclude_caches: bool = False,
        own: Collection[bytes] = (),
        worker: Worker | None = None,
    ) -> None:
        super().__init__(root, on_skip=on_skip, excluded=excluded, exclude_caches=exclude_caches, own=own)
        self._worker = worker

    _xattrs: Xattrs = ()  # of the folder that was yielded last
    _folders: ListedFolders | None = None
    # The path of each folder that the walk is in, with a slash, and the identities of the folders in it.
    _listed: list[tuple[bytes, Identities]]

    def open_file(self, files: Files, number: int) -> int:
        """Open file ``number`` of any ``files`` that this walk has yielded, and return the descriptor.

        Call ``fstat`` on the descriptor: another file might have replaced the one that was listed. Raises
        ``OSError`` if the file is gone or is a symlink now.
        """
        return self._opener().open_file(files, number)

    def folder_fd(self, entry: Entry) -> int | None:
        prefix = entry.path + b"/" if entry.path else b""
        with suppress(OSError):
            return self._opener().open_folder(prefix, self.listed(prefix))
        return None

    def folder_xattrs(self, entry: Entry) -> Xattrs:
        return self._xattrs

    def listed(self, prefix: bytes) -> Identities:
        """Return the identities of the folders in ``prefix``, a folder that the walk is in."""
        while not prefix.startswith(self._listed[-1][0]):
            self._listed.pop()
        return self._listed[-1][1]

    def close(self) -> None:
        super().close()
        if self._folders is not None:
            self._folders.close()
            self._folders = None

    def _opener(self) -> ListedFolders:
        if self._folders is None:
            raise ValueError("the walk has not begun or is closed")
        return self._folders

    def _walk(self) -> Generator[Entry | Files, None, None]:
        with closing(self._messages()) as messages:
            for message in messages:
                if isinstance(message, FileRun):
                    names, folders = message.names.split(b"/"), self.listed(message.prefix)
                    yield Files(message.prefix, names, message.rows, self._owners, folders)
                elif isinstance(message, NonFile):
                    self._xattrs = message.xattrs
                    if message.entry.kind == "dir":
                        self._list(message.entry)
                    yield message.entry
                else:
                    self._on_skip(message.path, message.reason)

    def _list(self, folder: Entry) -> None:
        found = folder.status.device, folder.status.inode
        if folder.path:
            above = self.listed(folder.path)
            self._listed.append((folder.path + b"/", (*above, found)))
            return
        own = os.fstat(self._opener().root)
        if found != (own.st_dev, own.st_ino):
            raise FilesError(
                f"The folder {self._root} was {REPLACED}.",
                unchanged=UNCHANGED,
                hint="Run the backup again.",
            )

    def _messages(self) -> Generator[ScanMessage, None, None]:
        self._listed = [(b"", ())]
        self._folders = ListedFolders(self._open_root())
        with ExitStack() as stack:
            worker = self._worker or self._start(stack)
            walk = str(self._root), self._excluded, self._exclude_caches, self._own
            worker.begin({"walk": base64.b64encode(pickle.dumps(walk)).decode()})
            try:
                while batch := _read_batch(worker):
                    yield from batch
                self.facts = Facts(**worker.result())
            except ToolError as error:
                raise FilesError(
                    f"The scanner process for {self._root} ended before it was done (exit status"
                    f" {error.exit_status_of_tool}).",
                    unchanged=UNCHANGED,
                    hint="Run the backup again. If memory was short, the kernel ended the process: see its"
                    " log (dmesg).",
                ) from None

    def _start(self, stack: ExitStack) -> Worker:
        try:
            return stack.enter_context(start_scanner())
        except ToolError as error:
            raise FilesError(
                f"The scanner process for {self._root} cannot be started: {error.what}",
                unchanged=UNCHANGED,
                hint="Raise the limits of processes and of open files (ulimit -u, ulimit -n).",
            ) from None


def _read_batch(worker: Worker) -> list[ScanMessage]:
    """Wait for the next batch of messages. An empty batch marks the end of the walk."""
    data = bytearray()
    while (message := worker.receive()).kind != END:
        data += worker.block(message)
        worker.free(message)
    batch: list[ScanMessage] = pickle.loads(data) if data else []  # noqa: S301 - from our own process
    return batch
