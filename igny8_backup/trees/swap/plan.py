"""The plan of a tree swap: which children are exchanged, recorded before anything moves.

``plan_swap`` makes the plan, a journal stores it (``formats.records``), ``swap`` carries it out.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

from igny8_backup.errors import FilesError, IntegrityError
from igny8_backup.trees.fs.linux import mounts_below
from igny8_backup.trees.fs.safe_dirs import FOLDER
from igny8_backup.trees.model.names import check_path, escape, is_own, previous_name, staging_name, unescape
from igny8_backup.trees.model.records import Record, from_json, record_of, to_json
from igny8_backup.trees.model.xattrs import read_xattrs
from igny8_backup.trees.scan.scan import Scan

_UNCHANGED = "The live tree was not changed."


class Child(NamedTuple):
    """A name in the live folder, the staging folder or both, with its inode in each at planning time.

    Devices are not recorded: all children lie on the device of the live folder, and its number may change
    with a reboot.
    """

    name: bytes
    live: int | None
    staging: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapPlan:
    """The children of ``folder`` against those of the staging folder of this ``stamp`` inside it.

    ``old`` and ``new`` describe ``folder`` itself in the two trees; where ``new`` is None its attributes are
    not changed. ``undoing`` reverses the direction; the rest of the plan is the same, so that either
    direction can take over from the other at any point.

    ``folder`` is the root of the tree or, where the root itself is swapped, the folder that holds the root;
    ``only`` then names the root, and every other child is ignored.
    """

    folder: Path
    stamp: str
    staging_inode: int
    children: tuple[Child, ...]
    old: Record
    new: Record | None
    undoing: bool = False
    only: bytes | None = None

    def children_in(self, directory: int) -> dict[bytes, os.stat_result]:
        """The children of the open live or staging folder that take part in the swap."""
        return {
            name: status
            for name, status in children_of(directory).items()
            if self.only is None or name == self.only
        }

    def reversed(self) -> Self:
        """The plan that brings the old tree back; reversed again, the new one."""
        return replace(self, undoing=not self.undoing)

    def to_plain(self) -> dict[str, Any]:
        """The plan as a JSON object; names are escaped (``names.escape``)."""
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
        """The plan in such an object. Raises ``ValueError`` for any other."""
        try:
            if "/" in fields["stamp"]:
                raise ValueError("its stamp is not one")
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

    @classmethod
    def from_schema_1(cls, text: str) -> Self | None:
        """The plan in a journal of schema 1: JSON in a string, empty before there was a plan. Raises
        ``ValueError`` for any other text."""
        if not text:
            return None
        try:
            fields = json.loads(text)
            if (fields["format"], fields["version"]) != ("igny8_backup swap", 1):
                raise ValueError("another format")
            children = [
                {"name": name, "live": live, "staging": staging} for name, live, staging in fields["children"]
            ]
            changed = {"folder": fields["root"], "staging_inode": fields["side_inode"], "children": children}
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError("the plan of a tree swap cannot be understood") from error
        return cls.from_plain({**fields, **changed})

    def find_staging(self) -> Path:
        """The staging folder, under the name it was made with or, after ``keep``, that of the previous tree.

        Raises ``FilesError`` when neither is the folder that was planned for.
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
    folder: Path, staging: Path, new: Record | None = None, *, only: bytes | None = None
) -> SwapPlan:
    """Plan the swap of the children of ``staging`` (from ``target.make_staging``) with those of ``folder``.

    ``only`` restricts the swap to the child of that name. ``new`` is the record of the root in the index.
    Nothing is changed. Raises ``FilesError`` when the staging folder is not in ``folder``, on the same
    filesystem, when something is mounted where it would be moved, or when a child may not be moved.
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
        live, staged = _movable(folder, live_fd, only), _movable(folder, staging_fd, only)
        return SwapPlan(
            folder=folder,
            stamp=stamp,
            staging_inode=os.fstat(staging_fd).st_ino,
            children=tuple(
                Child(name, live.get(name), staged.get(name)) for name in sorted(live.keys() | staged.keys())
            ),
            old=_record(folder),
            new=new,
            only=only,
        )


@contextmanager
def opened(folder: Path, staging: Path) -> Iterator[tuple[int, int]]:
    """Descriptors of the live folder and of the staging folder in it. Raises ``FilesError`` when one of them
    cannot be opened or they lie on two filesystems."""
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
            raise _refused(folder, f"{staging} is another filesystem")
        yield live_fd, staging_fd
    finally:
        os.close(staging_fd)
        os.close(live_fd)


def children_of(directory: int) -> dict[bytes, os.stat_result]:
    """The children of an open folder, without those that this package made."""
    found: dict[bytes, os.stat_result] = {}
    for name in map(os.fsencode, os.listdir(directory)):
        if not is_own(name):
            try:
                found[name] = os.lstat(name, dir_fd=directory)
            except FileNotFoundError:
                continue
    return found


def _movable(folder: Path, fd: int, only: bytes | None) -> dict[bytes, int]:
    """The inodes of the children, all of which may be moved; else ``FilesError``."""
    device = os.fstat(fd).st_dev
    found = {name: status for name, status in children_of(fd).items() if only in (None, name)}
    for name, status in found.items():
        if status.st_dev != device:
            raise _refused(folder, f"{escape(name)!r} in it is another filesystem")
        # rename(2): to get another parent, a folder must be writable itself.
        if stat.S_ISDIR(status.st_mode) and not os.access(name, os.W_OK, dir_fd=fd, effective_ids=True):
            raise _refused(folder, f"the folder {escape(name)!r} in it is not writable for this user")
    return {name: status.st_ino for name, status in found.items()}


def _record(folder: Path) -> Record:
    with Scan(folder, on_skip=lambda path, reason: None) as scan:
        entry = next(scan.entries())
        fd = scan.folder_fd(entry)
        return record_of(entry, "dir", xattrs=() if fd is None else read_xattrs(fd))


def _inode(value: object) -> int | None:
    if value is None or isinstance(value, int):
        return value
    raise ValueError("not an inode")


def _refused(folder: Path, why: str) -> FilesError:
    return FilesError(
        f"The children of {folder} cannot be swapped: {why}.",
        unchanged=_UNCHANGED,
        hint="Fix that, or restore into another root.",
    )
