"""Find the children (files and folders) of a root that a swap could not move, before anything is swapped.

Each child is tested with a rename onto a folder that is not empty. If the child can be moved, this rename
passes all checks of the kernel and of the file system and fails only at the end, because the folder is not
empty (rename(2): ENOTEMPTY or EEXIST; EISDIR for a file or link). If the child cannot be moved, the rename
fails with another error. So nothing moves in either case. A run that is killed leaves behind at most the
folder for the test, which holds no data.
"""

from __future__ import annotations

import errno
import os
import secrets
import shlex
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from igny8_backup.common.filesystem import try_lock
from igny8_backup.trees.fs.left_alone import TRIAL, TRIAL_FILE, TRIAL_FOLDER, is_trial, left_alone
from igny8_backup.trees.fs.linux import APPEND_ONLY, IMMUTABLE, MOUNT_POINT, attributes, file_system_type
from igny8_backup.trees.model.names import escape

_NOT_MOVED = (errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR)
_ELSEWHERE = "put the tree on a volume of its own, or restore it beside what is live: extract_backup --to-dir"


class Blocker(NamedTuple):
    """Why a child cannot be moved (a sentence without a full stop), and what to do about it."""

    why: str
    hint: str

    def __str__(self) -> str:
        return f"{self.why}: {self.hint}."

    @property
    def advice(self) -> str:
        """The hint with a capital letter, without a full stop: the beginning of a sentence."""
        return f"{self.hint[0].upper()}{self.hint[1:]}"


def children_of(directory: int, only: bytes | None = None) -> dict[bytes, os.stat_result]:
    """Return the name and ``lstat`` of everything in an open folder, or of ``only``, if given."""
    found: dict[bytes, os.stat_result] = {}
    for name in map(os.fsencode, os.listdir(directory)):
        if only in (None, name):
            with suppress(FileNotFoundError):
                found[name] = os.lstat(name, dir_fd=directory)
    return found


def find_blockers(folder: Path, own: Collection[bytes], *, only: bytes | None = None) -> list[Blocker]:
    """Return a blocker for each child of ``folder`` that a swap could not move; nothing is moved.

    ``own`` are the names of folders that hold data of restores, which no swap moves. ``only`` is the name of
    the one child that the swap would move; None means all children. Creates a folder for the test, and
    removes it again.
    """
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            names = children_of(fd, only)
            return try_children(folder, fd, names.keys() - left_alone(fd, names, own).keys())
        finally:
            os.close(fd)
    except OSError as error:
        return [Blocker(f"{folder} cannot be read: {error.strerror}", "check that it is mounted")]


def try_children(folder: Path, fd: int, names: Iterable[bytes]) -> list[Blocker]:
    """Return a blocker for each of ``names`` in the open ``folder`` that cannot be moved into a subfolder.

    If nothing at all can be moved in ``folder``, the only blocker says so.
    """
    if marked := _marked(folder, attributes(fd) & ~MOUNT_POINT):
        return [marked]
    found = []
    try:
        with trial_folder(fd) as trial:
            if (owner := os.fstat(trial).st_uid) != os.geteuid():
                why = f"new folders in {folder} belong to the user with id {owner} instead of this user"
                return [Blocker(why, "restore as that user, or mount it so that this user keeps its files")]
            for name in sorted(names):
                if marked := _marked(folder / os.fsdecode(name), attributes(fd, name)):
                    found.append(marked)
                elif error := _refusal(fd, name, trial):
                    found.append(explain(folder, fd, name, error))
    except OSError as error:
        hint = "give this user the right to write there, and check free space and quota"
        return [Blocker(f"no folder can be made in {folder}: {error.strerror}", hint)]
    return found


@contextmanager
def trial_folder(folder: int) -> Iterator[int]:
    """Make a private folder in the open ``folder``, and in it a folder that is not empty, to test renames.

    Yields the descriptor of the private folder. Both folders are removed at the end. ``folder`` keeps its
    modification time, if this user has the right to set it. Raises ``OSError``.
    """
    times = os.fstat(folder)
    _remove_stale_trials(folder)
    name = TRIAL + secrets.token_hex(8).encode()
    os.mkdir(name, 0o700, dir_fd=folder)
    try:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
        try:
            with suppress(OSError):
                try_lock(fd)  # so that no other plan takes it for one that a killed plan left
            os.mkdir(TRIAL_FOLDER, 0o700, dir_fd=fd)
            inner = os.path.join(TRIAL_FOLDER, TRIAL_FILE)
            os.close(os.open(inner, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=fd))
            try:
                yield fd
            finally:
                os.unlink(inner, dir_fd=fd)
                os.rmdir(TRIAL_FOLDER, dir_fd=fd)
        finally:
            os.close(fd)
    finally:
        with suppress(OSError):  # never removed with contents
            os.rmdir(name, dir_fd=folder)
        with suppress(OSError):
            os.utime(folder, ns=(times.st_atime_ns, times.st_mtime_ns))


def _remove_stale_trials(folder: int) -> None:
    """Remove the folders of ``trial_folder`` that killed runs left in the open ``folder``.

    A folder that holds anything else is not removed.
    """
    inner = os.path.join(TRIAL_FOLDER, TRIAL_FILE)
    for name in map(os.fsencode, os.listdir(folder)):
        if not (name.startswith(TRIAL) and is_trial(folder, name)):
            continue
        with suppress(OSError):
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            try:
                if not try_lock(fd):
                    continue
                with suppress(FileNotFoundError):
                    os.unlink(inner, dir_fd=fd)
                with suppress(FileNotFoundError):
                    os.rmdir(TRIAL_FOLDER, dir_fd=fd)
            finally:
                os.close(fd)
            os.rmdir(name, dir_fd=folder)


def is_case_insensitive(folder: Path) -> bool:
    """Return whether names in ``folder`` that differ only in case stand for the same file.

    Raises ``OSError``.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with trial_folder(fd) as trial:
            return _exists(TRIAL_FOLDER.upper(), trial)
    finally:
        os.close(fd)


def _exists(name: bytes, folder: int) -> bool:
    try:
        os.lstat(name, dir_fd=folder)
    except OSError:
        return False
    return True


def explain(folder: Path, fd: int, name: bytes, error: OSError) -> Blocker:
    """Return the blocker for ``name`` in ``folder`` (open as ``fd``), whose move failed with ``error``."""
    path = folder / os.fsdecode(name)
    shown = f"{escape(name)!r} in {folder}"
    if marked := _marked(path, attributes(fd, name)) or _marked(folder, attributes(fd) & ~MOUNT_POINT):
        return marked
    with suppress(OSError):
        status, above = os.lstat(name, dir_fd=fd), os.fstat(fd)
        if error.errno == errno.EXDEV and file_system_type(above.st_dev) == "overlay":
            why = f"{shown} lies in a lower layer of an overlay file system, which cannot move folders"
            return Blocker(why, _ELSEWHERE)
        if error.errno == errno.EXDEV:
            return Blocker(f"{shown} is on another file system, or has another project quota", _ELSEWHERE)
        if error.errno == errno.EPERM and above.st_mode & stat.S_ISVTX:
            why = f"{shown} belongs to the user with id {status.st_uid}, and {folder} has the sticky bit"
            return Blocker(
                why, f"restore as root or as that user, or run chmod -t {shlex.quote(str(folder))}"
            )
        if error.errno in (errno.EACCES, errno.EPERM) and stat.S_ISDIR(status.st_mode):
            why = f"the folder {shown}, of the user with id {status.st_uid}, is not writable for this user"
            return Blocker(why, "restore as root or as its owner, or correct its permissions")
    return Blocker(
        f"{shown} cannot be moved: {error.strerror}", "check permissions, free space and quota there"
    )


def _marked(path: Path, found: int) -> Blocker | None:
    """Return the blocker for a ``path`` whose attributes ``found`` prevent a move; None if none does."""
    quoted = shlex.quote(str(path))
    if found & IMMUTABLE:
        return Blocker(f"{path} is immutable", f"run chattr -i {quoted}")
    if found & APPEND_ONLY:
        return Blocker(f"{path} can only be appended to", f"run chattr -a {quoted}")
    if found & MOUNT_POINT:
        return Blocker(f"{path} is a mount point, which a swap cannot move", f"run umount {quoted}")
    return None


def _refusal(fd: int, name: bytes, trial: int) -> OSError | None:
    """Return the error with which a move of ``name`` would fail; None if it would succeed.

    The entry is renamed onto a folder that is not empty. That always fails; from the error it is clear
    whether a move would succeed.
    """
    try:
        os.rename(name, TRIAL_FOLDER, src_dir_fd=fd, dst_dir_fd=trial)
    except FileNotFoundError:  # it is gone
        return None
    except OSError as error:
        return None if error.errno in _NOT_MOVED else error
    # A file system that breaks the rules has moved it.
    os.rename(TRIAL_FOLDER, name, src_dir_fd=trial, dst_dir_fd=fd)
    return None
