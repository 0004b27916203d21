"""A tree, walked by a process of its own ahead of the one that compares and reads its files.

Listing folders and ``lstat`` are half of the work of a night in which little has changed; of two processes
each has a processor. The one is forked off the other, which must have a single thread.
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

AT_A_TIME = 500
"""So many files and other things are handed over together, about."""

_UNCHANGED = "This tree is not in the backup."


class _Files(NamedTuple):
    """``Files``, whose names are joined by slashes."""

    prefix: bytes
    names: bytes
    rows: list[Row]


class _Other(NamedTuple):
    """Anything else, and a folder's extended attributes."""

    entry: Entry
    xattrs: Xattrs


class _Skipped(NamedTuple):
    path: bytes
    reason: str


class _Failed(NamedTuple):
    """The parts of a ``FilesError``."""

    what: str
    unchanged: str
    hint: str


class _End(NamedTuple):
    left_out: int


_Message: TypeAlias = _Other | _Files | _Skipped | _Failed | _End


class ScanAhead(Scan):
    """As ``Scan``, by a process that is some thousand files ahead: each thing is as it was a moment ago.

    The root is opened once for both. Another folder is opened here a second time, in the same safe way, once
    a file in it is; if it is not the one that was listed, the file counts as replaced. ``FilesError`` also
    when the process cannot be had, or ends before the tree does.
    """

    _xattrs: Xattrs = ()  # of the folder just yielded
    _listed: dict[bytes, tuple[int, int]]  # by prefix: the folders that the walk is in

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
        """The folder whose paths begin so, opened from the root downwards; it stays open for what follows."""
        while not prefix.startswith(self._levels[-1].prefix):
            os.close(self._levels.pop().fd)
        for name in prefix[len(self._levels[-1].prefix) :].split(b"/")[:-1]:
            above = self._levels[-1]
            fd = os.open(name, OPEN_FOLDER, dir_fd=above.fd)
            level = Level(fd, above.prefix + name + b"/", [])
            status = os.fstat(fd)
            if (status.st_dev, status.st_ino) != self._listed.get(level.prefix):
                os.close(fd)
                raise OSError(errno.ELOOP, "another folder stands there now")  # told as a symlink would be
            self._levels.append(level)
        return self._levels[-1].fd

    def _walk(self) -> Generator[Entry | Files, None, None]:
        with closing(self._messages()) as messages:
            for message in messages:
                if isinstance(message, _Files):
                    yield Files(message.prefix, message.names.split(b"/"), message.rows, self._owners)
                elif isinstance(message, _Other):
                    self._xattrs = message.xattrs
                    if message.entry.kind == "dir":
                        self._list(message.entry)
                    yield message.entry
                elif isinstance(message, _Skipped):
                    self._on_skip(message.path, message.reason)
                elif isinstance(message, _Failed):
                    raise FilesError(message.what, unchanged=message.unchanged, hint=message.hint)
                else:
                    self.left_out = message.left_out

    def _list(self, folder: Entry) -> None:
        while self._listed and not folder.path.startswith(next(reversed(self._listed))):
            self._listed.popitem()
        if folder.path:
            self._listed[folder.path + b"/"] = folder.inode

    def _messages(self) -> Generator[_Message, None, None]:
        self._listed = {}
        self._levels.append(Level(self._open_root(), b"", []))
        try:
            receiver, process = self._start()
        except OSError as error:
            raise FilesError(
                f"No process can be had to walk {self._root}: {error.strerror}.",
                unchanged=_UNCHANGED,
                hint="Raise the limits of processes and of open files.",
            ) from None
        message: _Message | None = None
        try:
            while not isinstance(message, _End | _Failed):
                for message in receiver.recv():
                    yield message
        except (EOFError, OSError):  # OSError: in the middle of what it said
            process.join()
            raise FilesError(
                f"The process of ours that walks {self._root} did not come to its end (exit status"
                f" {process.exitcode}).",
                unchanged=_UNCHANGED,
                hint="Run again. If it happens again, find out who ends it: where memory is short it is"
                " the kernel, and its log says so (dmesg).",
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
            job = self._root, self._levels[0].fd, self._excluded, self._tagged
            process = context.Process(target=_look, args=(sender, receiver, *job), daemon=True)
            try:
                process.start()
            except BaseException:
                receiver.close()
                raise
        return receiver, process


class _Teller:
    """Hands over some messages at a time: each hand-over takes longer than a look at a file."""

    def __init__(self, sender: Connection) -> None:
        self._sender = sender
        self._messages: list[_Message] = []
        self._count = 0

    def tell(self, message: _Message, count: int = 1) -> None:
        self._messages.append(message)
        self._count += count
        if self._count >= AT_A_TIME:
            self.tell_now()

    def look(self, met: Entry | Files, scan: Scan) -> None:
        if isinstance(met, Files):
            self.tell(_Files(met.prefix, b"/".join(met.names), met.rows), len(met.names))
        else:
            self.tell(_Other(met, scan.folder_xattrs(met) if met.kind == "dir" else ()))

    def tell_now(self) -> None:
        self._sender.send(self._messages)
        self._messages = []
        self._count = 0


def _look(
    sender: Connection,
    receiver: Connection,
    root: Path,
    root_fd: int,
    excluded: Excluded | None,
    tagged: bool,
) -> None:
    """The other process: ends with its work, or when nobody wants to hear of it any more."""
    receiver.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 1)  # who reads that must not wait for us when the one that we work for ends
    teller = _Teller(sender)

    def skip(path: bytes, reason: str) -> None:
        teller.tell(_Skipped(path, reason))

    with suppress(BrokenPipeError):
        end: _End | _Failed
        try:
            with Scan(root, on_skip=skip, excluded=excluded, tagged=tagged, root_fd=root_fd) as scan:
                for met in scan:
                    teller.look(met, scan)
                end = _End(scan.left_out)
        except BrokenPipeError:
            raise
        except Exception as error:  # told there, by whoever tells of errors
            what = f"The process of ours that walks {root} failed: {error!r}."
            end = _Failed(what, _UNCHANGED, "Run again.")
        teller.tell(end)
        teller.tell_now()
