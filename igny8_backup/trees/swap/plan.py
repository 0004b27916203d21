"""The plan of a tree swap: which files and folders of the live root change places with restored ones.

``plan_swap`` makes the plan, a journal stores it before anything moves, and ``swap`` carries it out.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

from igny8_backup.errors import FilesError, IntegrityError
from igny8_backup.trees.fs.left_alone import left_alone
from igny8_backup.trees.fs.linux import mounts_below
from igny8_backup.trees.fs.safe_dirs import FOLDER
from igny8_backup.trees.model.entries import Entry, Status
from igny8_backup.trees.model.names import (
    check_path,
    escape,
    is_reserved,
    previous_name,
    staging_name,
    unescape,
)
from igny8_backup.trees.model.owners import Owners
from igny8_backup.trees.model.records import Record, from_json, record_of, to_json
from igny8_backup.trees.model.xattrs import read_xattrs
from igny8_backup.trees.swap.blockers import children_of, try_children

_UNCHANGED = "The live tree was not changed."


class Child(NamedTuple):
    """A file or folder to be swapped: its name, and its inode in the live and in the staging folder.

    The staging folder holds the restored tree. ``live`` and ``staging`` are the inodes at planning time; None
    if that folder has no entry of this name. Device numbers are not recorded, because they can change with a
    reboot. (All children are on the device of the live folder.)
    """

    name: bytes
    live: int | None
    staging: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapPlan:
    """A swap of the ``children`` of the live ``folder`` with the restored ones in its staging folder.

    ``stamp`` is in the staging folder's name. ``folder`` is the root of the tree or, if the root itself is
    swapped, the folder that holds the root; ``only`` then names the root, and every other child is ignored.
    ``old`` and ``new`` are the records of ``folder`` before and after the swap; if ``new`` is None, the
    metadata of ``folder`` is not changed. ``undoing`` reverses the direction. The rest of the plan is the
    same in both directions, so that a swap can be reversed at any point.
    """

    folder: Path
    stamp: str
    staging_inode: int
    children: tuple[Child, ...]
    old: Record
    new: Record | None
    undoing: bool = False
    only: bytes | None = None

    def children_in(self, directory: int) -> dict[bytes, int]:
        """Return the names and inodes of everything in an open folder (live or staging) that is swapped.

        Other entries with reserved names are left out: they are folders that swaps ignore, or children whose
        swap is half done.
        """
        planned = {child.name for child in self.children}
        return {
            name: status.st_ino
            for name, status in children_of(directory, self.only).items()
            if name in planned or not is_reserved(name)
        }

    def moving_name(self, number: int | str) -> bytes:
        """Return the name, in the staging folder, of child ``number`` while it is half swapped."""
        return b".igny8_backup-moving-%b-%b" % (os.fsencode(self.stamp), str(number).encode())

    def reversed(self) -> Self:
        """Return the opposite plan: it undoes this swap or, if this plan undoes one, swaps again."""
        return replace(self, undoing=not self.undoing)

    def to_plain(self) -> dict[str, Any]:
        """Return the plan as a JSON object, in which names are escaped (``names.escape``)."""
        return {
            "folder": escape(os.fsencode(self.folder)),
            "stamp": self.stamp,
            "staging_inode": self.staging_inode,
            "children": [
                {"name": escape(child.name), "live": child.live, "staging": child.staging}
                for child in self.children
            ],
            "old": to_json(self.old),
            "new": None if self.new is None else to_json(self.new),
            "undoing": self.undoing,
            "only": None if self.only is None else escape(self.only),
        }

    @classmethod
    def from_plain(cls, fields: Any) -> Self:
        """Return the plan from an object that ``to_plain`` made. Raises ``ValueError`` if it is malformed."""
        try:
            if "/" in fields["stamp"]:
                raise ValueError("the stamp holds a slash")
            return cls(
                folder=Path(os.fsdecode(unescape(fields["folder"]))),
                stamp=str(fields["stamp"]),
                staging_inode=int(fields["staging_inode"]),
                children=tuple(
                    Child(
                        check_path(unescape(child["name"])), _inode(child["live"]), _inode(child["staging"])
                    )
                    for child in fields["children"]
                ),
                old=from_json(fields["old"]),
                new=None if fields["new"] is None else from_json(fields["new"]),
                undoing=bool(fields["undoing"]),
                only=None if fields.get("only") is None else check_path(unescape(fields["only"])),
            )
        except (KeyError, TypeError, ValueError, AttributeError, IntegrityError) as error:
            raise ValueError("the plan of a tree swap cannot be understood") from error

    def find_staging(self) -> Path:
        """Return the path of the staging folder, to which ``keep.keep`` gives another name.

        Raises ``FilesError`` if the staging folder of this plan is gone.
        """
        for name in (staging_name(self.stamp), previous_name(self.stamp)):
            path = self.folder / name
            try:
                if os.lstat(path).st_ino == self.staging_inode:
                    return path
            except OSError:
                continue
        raise FilesError(
            f"The folder {previous_name(self.stamp)} that was swapped with the children of {self.folder} is"
            " gone.",
            unchanged="Nothing was changed.",
            hint="Bring that folder back, or restore a backup instead.",
        )


def plan_swap(
    folder: Path,
    staging: Path,
    new: Record | None = None,
    *,
    only: bytes | None = None,
    own: Collection[bytes] = (),
) -> SwapPlan:
    """Plan the swap of the children of ``folder`` with those of ``staging`` (``target.make_staging``).

    ``only`` restricts the swap to the child of that name. ``own`` are the names of folders in ``folder``
    that hold data of restores; they are not moved (``left_alone``). ``new`` is the index record of the root,
    with the mode, owner and time that the root gets. Nothing is changed. Raises ``FilesError`` if the staging
    folder is not in ``folder`` or is on another filesystem, if there is a mount point below a folder that
    would be moved, or if a child cannot be moved.
    """
    stamp = staging.name.removeprefix(staging_name(""))
    if staging.name != staging_name(stamp) or staging.parent.resolve() != folder.resolve():
        raise _refused(folder, f"{staging} is not a staging folder in it")
    points = mounts_below(folder)
    if only is not None:
        moved = os.path.join(os.fsencode(folder.resolve()), only)
        points = [point for point in points if point == moved or point.startswith(moved + b"/")]
    if points:
        raise _refused(folder, f"{escape(points[0])!r} is a mount point below it")
    with opened(folder, staging) as (live_fd, staging_fd):
        live, staged = children_of(live_fd, only), children_of(staging_fd, only)
        for name in left_alone(live_fd, live.keys() | staged.keys(), {*own, os.fsencode(staging.name)}):
            live.pop(name, None)
            staged.pop(name, None)
        if blockers := try_children(folder, live_fd, live):
            raise _refused(folder, blockers[0].why, blockers[0].advice)
        _check_staged(folder, staging_fd, staged)
        return SwapPlan(
            folder=folder,
            stamp=stamp,
            staging_inode=os.fstat(staging_fd).st_ino,
            children=tuple(
                Child(name, *(getattr(found.get(name), "st_ino", None) for found in (live, staged)))
                for name in sorted(live.keys() | staged.keys())
            ),
            old=_record(live_fd),
            new=new,
            only=only,
        )


@contextmanager
def opened(folder: Path, staging: Path) -> Iterator[tuple[int, int]]:
    """Open the live folder and the staging folder in it; yield their descriptors.

    Raises ``FilesError`` if one of them cannot be opened, or if they are on different filesystems.
    """
    try:
        live_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            staging_fd = os.open(staging.name, FOLDER, dir_fd=live_fd)
        except OSError:
            os.close(live_fd)
            raise
    except OSError as error:
        raise _refused(folder, f"{error.filename} cannot be opened: {error.strerror}") from error
    try:
        if os.fstat(live_fd).st_dev != os.fstat(staging_fd).st_dev:
            raise _refused(folder, f"{staging} is on another filesystem")
        yield live_fd, staging_fd
    finally:
        os.close(staging_fd)
        os.close(live_fd)


def _check_staged(folder: Path, fd: int, children: dict[bytes, os.stat_result]) -> None:
    """Raise ``FilesError`` if this user cannot move one of ``children`` out of the open staging folder."""
    for name, status in children.items():
        # rename(2): a folder that gets another parent must be writable itself.
        if stat.S_ISDIR(status.st_mode) and not os.access(name, os.W_OK, dir_fd=fd, effective_ids=True):
            raise _refused(folder, f"the restored folder {escape(name)!r} is not writable for this user")


def _record(fd: int) -> Record:
    """Return an index record with the present mode, owner, attributes and time of an open folder."""
    status = Status.of(os.fstat(fd))
    entry = Entry(b"", "dir", status, Owners().owner(status.uid, status.gid))
    return record_of(entry, "dir", xattrs=read_xattrs(fd))


def _inode(value: object) -> int | None:
    if value is None or isinstance(value, int):
        return value
    raise ValueError("not an inode")


def _refused(folder: Path, why: str, hint: str = "") -> FilesError:
    hint = hint or "Unmount what is mounted there or correct the permissions, or restore into another root"
    return FilesError(
        f"The files and folders in {folder} cannot be swapped: {why}.",
        unchanged=_UNCHANGED,
        hint=f"{hint}.",
    )
