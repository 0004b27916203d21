"""Walk a tree in a second process, ahead of the archive worker that compares and reads its files.

Listing folders and ``lstat`` are half of the work of a backup in which little has changed. The scanner
process is forked from the archive worker, which must have a single thread.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
from collections.abc import Generator
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import NamedTuple, TypeAlias

from igny8_backup.errors import FilesError
from igny8_backup.trees.model.entries import Entry, Files, Row
from igny8_backup.trees.model.xattrs import Xattrs
from igny8_backup.trees.scan.scan import OPEN_FILE, OPEN_FOLDER, Excluded, Level, Scan

BATCH_ENTRIES = 500
"""Approximate number of files and other entries that are sent together."""

_UNCHANGED = "This tree is not in the backup."


class _Files(NamedTuple):
    """Message: a run of files. The fields are those of ``entries.Files``; ``names`` are joined by slashes."""

    prefix: bytes
    names: bytes
    rows: list[Row]


class _NonFile(NamedTuple):
    """Message: a folder or symlink. ``xattrs`` are the extended attributes of a folder."""

    entry: Entry
    xattrs: Xattrs


class _Skipped(NamedTuple):
    path: bytes
    reason: str


class _End(NamedTuple):
    excluded_count: int


_Message: TypeAlias = _NonFile | _Files | _Skipped | FilesError | _End


class ScanAhead(Scan):
    """A ``Scan`` (walk over a tree) that runs in a process of its own, some thousand files ahead.

    Both processes share one descriptor of the root. This process opens every other folder again, in the same
    safe way, when it opens a file in that folder; if another folder has taken its place, its files are
    skipped as replaced. Raises ``FilesError`` also if the scanner process cannot be started or is killed.
    """

    _xattrs: Xattrs = ()  # of the folder that was yielded last
    _listed: dict[bytes, tuple[int, int]]  # device and inode, by prefix, of the folders that the walk is in

    def open_file(self, files: Files, number: int) -> int:
        level = self._levels[-1]
        fd = level.fd if files.prefix == level.prefix else self._open_folder(files.prefix)
        return os.open(files.names[number], OPEN_FILE, dir_fd=fd)

    def folder_fd(self, entry: Entry) -> int | None:
        with suppress(OSError):
            return self._open_folder(entry.path + b"/" if entry.path else b"")
        return None

    def folder_xattrs(self, entry: Entry) -> Xattrs:
        return self._xattrs

    def _open_folder(self, prefix: bytes) -> int:
        """Open the folder whose path and slash are ``prefix``; return the descriptor.

        It stays open for the files of the same folder that follow.
        """
        while not prefix.startswith(self._levels[-1].prefix):
            os.close(self._levels.pop().fd)
        for name in prefix[len(self._levels[-1].prefix) :].split(b"/")[:-1]:
            above = self._levels[-1]
            fd = os.open(name, OPEN_FOLDER, dir_fd=above.fd)
            level = Level(fd, above.prefix + name + b"/", [])
            status = os.fstat(fd)
            if (status.st_dev, status.st_ino) != self._listed.get(level.prefix):
                os.close(fd)
                raise OSError(errno.ELOOP, "another folder took its place")  # reported like a symlink
            self._levels.append(level)
        return self._levels[-1].fd

    def _walk(self) -> Generator[Entry | Files, None, None]:
        with closing(self._messages()) as messages:
            for message in messages:
                if isinstance(message, _Files):
                    yield Files(message.prefix, message.names.split(b"/"), message.rows, self._owners)
                elif isinstance(message, _NonFile):
                    self._xattrs = message.xattrs
                    if message.entry.kind == "dir":
                        self._list(message.entry)
                    yield message.entry
                elif isinstance(message, _Skipped):
                    self._on_skip(message.path, message.reason)
                elif isinstance(message, FilesError):
                    raise message
                else:
                    self.excluded_count = message.excluded_count

    def _list(self, folder: Entry) -> None:
        while self._listed and not folder.path.startswith(next(reversed(self._listed))):
            self._listed.popitem()
        if folder.path:
            self._listed[folder.path + b"/"] = folder.status.device, folder.status.inode

    def _messages(self) -> Generator[_Message, None, None]:
        self._listed = {}
        self._levels.append(Level(self._open_root(), b"", []))
        try:
            receiver, process = self._start()
        except OSError as error:
            raise FilesError(
                f"The scanner process for {self._root} cannot be started: {error.strerror}.",
                unchanged=_UNCHANGED,
                hint="Raise the limits of processes and of open files (ulimit -u, ulimit -n).",
            ) from None
        message: _Message | None = None
        try:
            while not isinstance(message, _End | FilesError):
                for message in receiver.recv():
                    yield message
        except (EOFError, OSError):  # OSError: in the middle of a message
            process.join()
            raise FilesError(
                f"The scanner process for {self._root} ended before it was done (exit status"
                f" {process.exitcode}).",
                unchanged=_UNCHANGED,
                hint="Run the backup again. If memory was short, the kernel ended the process: see its log"
                " (dmesg).",
            ) from None
        finally:
            receiver.close()
            process.kill()
            process.join()
            process.close()

    def _start(self) -> tuple[Connection, ForkProcess]:
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)
        with sender:
            job = self._root, self._levels[0].fd, self._excluded, self._exclude_caches
            process = context.Process(target=_scan, args=(sender, receiver, *job), daemon=True)
            try:
                process.start()
            except BaseException:
                receiver.close()
                raise
        return receiver, process


class _MessageBatcher:
    """Collects messages and sends many at a time, because sending one takes longer than ``lstat``."""

    def __init__(self, sender: Connection) -> None:
        self._sender = sender
        self._messages: list[_Message] = []
        self._count = 0

    def add(self, message: _Message, count: int = 1) -> None:
        self._messages.append(message)
        self._count += count
        if self._count >= BATCH_ENTRIES:
            self.flush()

    def add_item(self, item: Entry | Files, scan: Scan) -> None:
        if isinstance(item, Files):
            self.add(_Files(item.prefix, b"/".join(item.names), item.rows), len(item.names))
        else:
            self.add(_NonFile(item, scan.folder_xattrs(item) if item.kind == "dir" else ()))

    def flush(self) -> None:
        self._sender.send(self._messages)
        self._messages = []
        self._count = 0


def _scan(
    sender: Connection,
    receiver: Connection,
    root: Path,
    root_fd: int,
    excluded: Excluded | None,
    exclude_caches: bool,
) -> None:
    """Walk the tree and send what is found to the archive worker; stop early if that worker is gone."""
    receiver.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open(os.devnull, "wb") as nothing:
        # The reader of the archive worker's stdout must see its end as soon as the archive worker is gone.
        os.dup2(nothing.fileno(), 1)
    batcher = _MessageBatcher(sender)

    def skip(path: bytes, reason: str) -> None:
        batcher.add(_Skipped(path, reason))

    with suppress(BrokenPipeError):
        end: _End | FilesError
        try:
            scan = Scan(root, on_skip=skip, excluded=excluded, exclude_caches=exclude_caches, root_fd=root_fd)
            for item in scan:
                batcher.add_item(item, scan)
            end = _End(scan.excluded_count)
        except BrokenPipeError:
            raise
        except Exception as error:  # raised again in the archive worker
            what = f"The scanner process for {root} failed: {error!r}."
            end = FilesError(
                what, _UNCHANGED, "Run the backup again. If it fails again, report this as a bug."
            )
        batcher.add(end)
        batcher.flush()
