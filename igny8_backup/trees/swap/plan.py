"""What a swap of two trees is to do, written down before anything moves."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

from igny8_backup.errors import FilesError, IntegrityError
from igny8_backup.trees.fs.mounts import mounts_below
from igny8_backup.trees.fs.safe_dirs import FOLDER
from igny8_backup.trees.model.names import check_path, escape, is_own, previous_name, staging_name, unescape
from igny8_backup.trees.model.records import Record, from_json, record_of, to_json
from igny8_backup.trees.model.xattrs import ACCESS_ACL, DEFAULT_ACL, read_xattrs
from igny8_backup.trees.scan.scan import Scan

_FORMAT = {"format": "igny8_backup swap", "version": 1}


class Child(NamedTuple):
    """A name in the root, the side or both, with the inode it had in each when the swap was planned.

    No device: all lie on that of the root, and its number may be another after a reboot.
    """

    name: bytes
    live: int | None
    side: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapPlan:
    """The children of ``root`` against those of the side folder of this ``stamp`` inside it.

    ``old`` and ``new`` describe the root folder itself in the two trees (``new`` None: it stays as
    it is). ``undoing`` turns the direction around; the plan is otherwise the same, so that either
    direction can take over from the other at any point.

    ``only`` names the one child that is swapped, where the root is not of a tree but the folder that
    a whole tree lies in: nothing else in it is looked at.
    """

    root: Path
    stamp: str
    side_inode: int
    children: tuple[Child, ...]
    old: Record
    new: Record | None
    undoing: bool = False
    only: bytes | None = None

    def children_in(self, folder: int) -> dict[bytes, os.stat_result]:
        """What lies in the open root or side, as far as it is swapped."""
        return {
            name: status
            for name, status in children_of(folder).items()
            if self.only is None or name == self.only
        }

    def reversed(self) -> Self:
        """The plan that brings the old tree back; reversed again, the new one."""
        return replace(self, undoing=not self.undoing)

    def to_json(self) -> dict[str, Any]:
        """For a journal: a JSON object from which ``from_json`` makes an equal plan."""
        return {
            **_FORMAT,
            "root": escape(os.fsencode(self.root)),
            "stamp": self.stamp,
            "side_inode": self.side_inode,
            "children": [[escape(child.name), child.live, child.side] for child in self.children],
            "old": to_json(self.old),
            "new": None if self.new is None else to_json(self.new),
            "undoing": self.undoing,
            "only": None if self.only is None else escape(self.only),
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """The plan of a journal; ``FilesError`` when it is not one."""
        try:
            if any(fields[key] != value for key, value in _FORMAT.items()):
                raise ValueError("another format")
            if "/" in fields["stamp"]:
                raise ValueError("not the stamp of a folder in the root")
            return cls(
                root=Path(os.fsdecode(unescape(fields["root"]))),
                stamp=str(fields["stamp"]),
                side_inode=int(fields["side_inode"]),
                children=tuple(
                    Child(check_path(unescape(name)), _inode(live), _inode(side))
                    for name, live, side in fields["children"]
                ),
                old=from_json(fields["old"]),
                new=None if fields["new"] is None else from_json(fields["new"]),
                undoing=bool(fields["undoing"]),
                only=None if fields.get("only") is None else check_path(unescape(fields["only"])),
            )
        except (KeyError, TypeError, ValueError, AttributeError, IntegrityError) as error:
            raise FilesError("A journal of a tree swap cannot be understood.") from error

    def find_staging(self) -> Path:
        """Where the side folder is: under its first name or, kept, as the one from before; ``FilesError``."""
        for name in (staging_name(self.stamp), previous_name(self.stamp)):
            path = self.root / name
            try:
                if os.lstat(path).st_ino == self.side_inode:
                    return path
            except OSError:
                continue
        raise FilesError(f"The folder that was swapped with {self.root} is gone.")


def make_side(root: Path, stamp: str) -> Path:
    """A new private folder in the root, for ``TreeWriter``; ``FilesError`` when it cannot be made."""
    side = root / staging_name(stamp)
    try:
        side.mkdir(0o700)
        side.chmod(0o700)  # a set-group-id bit, inherited from the root, would be so by all below
        fd = os.open(side, FOLDER)
        try:
            for name, _ in read_xattrs(fd):
                if name in (ACCESS_ACL, DEFAULT_ACL):  # inherited likewise
                    os.removexattr(fd, name)
        finally:
            os.close(fd)
    except OSError as error:
        raise FilesError(
            f"No folder can be made in {root} for the new tree: {error.strerror}.",
            unchanged="The live tree is as it was.",
        ) from error
    return side


def plan_swap(root: Path, side: Path, new: Record | None = None, *, only: bytes | None = None) -> SwapPlan:
    """What it takes to put the children of ``side`` (from ``make_side``) in place of the root's, or that
    child alone which ``only`` names.

    ``new`` is the root's own record in the index. Nothing is changed. ``FilesError`` when the side
    is not in the root, on the same filesystem, when something is mounted where it would be moved, or
    when a child may not be moved.
    """
    stamp = side.name.removeprefix(staging_name(""))
    if side.name != staging_name(stamp) or side.parent.resolve() != root.resolve():
        raise _refused(root, f"{side} is not a folder made for its new tree")
    points = mounts_below(root)
    if only is not None:
        moved = os.path.join(os.fsencode(root.resolve()), only)
        points = [point for point in points if point == moved or point.startswith(moved + b"/")]
    if points:
        raise _refused(root, f"{escape(points[0])!r} is a mount point below it")
    with opened(root, side) as (root_fd, side_fd):
        live, aside = _movable(root, root_fd, only), _movable(root, side_fd, only)
        return SwapPlan(
            root=root,
            stamp=stamp,
            side_inode=os.fstat(side_fd).st_ino,
            children=tuple(
                Child(name, live.get(name), aside.get(name)) for name in sorted(live.keys() | aside.keys())
            ),
            old=_record(root),
            new=new,
            only=only,
        )


@contextmanager
def opened(root: Path, side: Path) -> Iterator[tuple[int, int]]:
    """Descriptors of the root and of the side in it; ``FilesError`` when there are no such folders."""
    try:
        root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            side_fd = os.open(side.name, FOLDER, dir_fd=root_fd)
        except OSError:
            os.close(root_fd)
            raise
    except OSError as error:
        raise _refused(root, f"{error.filename} cannot be opened: {error.strerror}") from error
    try:
        if os.fstat(root_fd).st_dev != os.fstat(side_fd).st_dev:
            raise _refused(root, f"{side} is another filesystem")
        yield root_fd, side_fd
    finally:
        os.close(side_fd)
        os.close(root_fd)


def children_of(folder: int) -> dict[bytes, os.stat_result]:
    """What lies in an open folder, but for what is ours."""
    found: dict[bytes, os.stat_result] = {}
    for name in map(os.fsencode, os.listdir(folder)):
        if not is_own(name):
            try:
                found[name] = os.lstat(name, dir_fd=folder)
            except FileNotFoundError:
                continue
    return found


def _movable(root: Path, folder: int, only: bytes | None) -> dict[bytes, int]:
    device = os.fstat(folder).st_dev
    found = {name: status for name, status in children_of(folder).items() if only in (None, name)}
    for name, status in found.items():
        if status.st_dev != device:
            raise _refused(root, f"{escape(name)!r} in it is another filesystem")
        # rename(2): to get another parent, a folder must be writable itself.
        if stat.S_ISDIR(status.st_mode) and not os.access(name, os.W_OK, dir_fd=folder, effective_ids=True):
            raise _refused(root, f"the folder {escape(name)!r} in it is not writable for this user")
    return {name: status.st_ino for name, status in found.items()}


def _record(root: Path) -> Record:
    with Scan(root, on_skip=lambda path, reason: None) as walk:
        entry = next(walk.entries())
        fd = walk.folder_fd(entry)
        return record_of(entry, "dir", xattrs=() if fd is None else read_xattrs(fd))


def _inode(value: object) -> int | None:
    if value is None or isinstance(value, int):
        return value
    raise ValueError("not an inode")


def _refused(root: Path, why: str) -> FilesError:
    return FilesError(
        f"The children of {root} cannot be swapped: {why}.",
        unchanged="The tree is as it was.",
        hint="Mend that, or restore into another root.",
    )
