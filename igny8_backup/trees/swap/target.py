"""The paths of a tree swap. They lie inside the root or, if the root itself is swapped, in its parent."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from igny8_backup.common.filesystem import cannot
from igny8_backup.errors import FilesError
from igny8_backup.trees.fs.metadata import Metadata
from igny8_backup.trees.fs.safe_dirs import FOLDER, MadeFolder
from igny8_backup.trees.model.names import previous_name, staging_name
from igny8_backup.trees.model.records import Record
from igny8_backup.trees.model.skips import OnSkip
from igny8_backup.trees.model.xattrs import ACCESS_ACL, DEFAULT_ACL, read_xattrs
from igny8_backup.trees.swap.plan import SwapPlan, plan_swap


@dataclass(frozen=True, kw_only=True)
class SwapTarget:
    """The paths of one swap of a live tree with a restored one.

    ``root`` is the root of the live tree; ``stamp`` identifies the restore, for example ``20261122T021500Z``.
    ``swap_root``: the root itself is swapped, instead of its children one by one.
    """

    root: Path
    stamp: str
    swap_root: bool = False

    @property
    def folder(self) -> Path:
        """The folder whose children are swapped: the root, or with ``swap_root`` the folder above it."""
        return self.root.parent if self.swap_root else self.root

    @property
    def staging(self) -> Path:
        """The path of the staging folder, in which the new tree is built, inside ``folder``."""
        return self.folder / staging_name(self._stamp)

    @property
    def previous(self) -> Path:
        """The folder that holds the previous tree after the swap, and the restored one after an undo."""
        return self.folder / previous_name(self._stamp)

    @property
    def kept_tree(self) -> Path:
        """The root of the tree that is not live after a swap or an undo."""
        return self.previous / self.root.name if self.swap_root else self.previous

    @property
    def new_tree(self) -> Path:
        """The folder for the new tree: the staging folder or, with ``swap_root``, a folder in it."""
        return self.staging / self.root.name if self.swap_root else self.staging

    @property
    def _stamp(self) -> str:
        # Two roots may be in one folder.
        return f"{self.stamp}-{self.root.name}" if self.swap_root else self.stamp

    def make(self) -> MadeFolder:
        """Make the staging folder and, with ``swap_root``, the new root in it. Raises ``FilesError``.

        Returns the folder for the new tree. If another user replaces this folder, opening it fails.
        """
        inner = self.root.name if self.swap_root else ""
        return make_staging(self.folder, self._stamp, inner=inner)

    def plan(self, record: Record | None, on_skip: OnSkip, own: Collection[bytes] = ()) -> SwapPlan:
        """Return the plan of the swap. Call this once the staging folder holds the complete new tree.

        ``record`` is the record of the root in the index. ``own`` are the names of folders in the root that
        hold data of restores and are not swapped. With ``swap_root`` the new root gets its mode and time now,
        and ``on_skip`` receives what could not be set. Raises ``FilesError``.
        """
        if not self.swap_root:
            return plan_swap(self.root, self.staging, record, own=own)
        if record is not None:
            try:
                fd = MadeFolder(self.new_tree, self.folder).open()
            except OSError as error:
                raise FilesError(
                    f"The new tree {self.new_tree} cannot be opened: {error.strerror}.",
                    unchanged="The live tree was not changed.",
                    hint="Find out who writes there, then restore again.",
                ) from error
            try:
                Metadata(allow_set_id=False, on_skip=on_skip).apply(fd, record)
            except PermissionError as error:
                on_skip(b"", f"its mode and time cannot be set: {error.strerror}")
            finally:
                os.close(fd)
        return plan_swap(self.folder, self.staging, only=os.fsencode(self.root.name))


def _make_private(folder: int) -> None:
    """Give an open folder the mode 0700.

    This also clears set-group-ID, so that nothing in the folder inherits its group.
    """
    try:
        os.fchmod(folder, 0o700)
    except OSError as error:
        if not cannot(error):  # where there are no modes, there is nothing to inherit
            raise


def make_staging(folder: Path, stamp: str, *, inner: str = "") -> MadeFolder:
    """Make a new, private staging folder in ``folder`` for the restore ``stamp``, and return it.

    With ``inner``, make a folder of this name in the staging folder, and return the inner folder. Both are
    opened relative to a descriptor and never through a symlink: another user who owns ``folder`` could put a
    symlink in place of the staging folder. Raises ``FilesError``.
    """
    staging = folder / staging_name(stamp)
    above = fd = -1
    try:
        above = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        os.mkdir(staging.name, 0o700, dir_fd=above)
        fd = os.open(staging.name, FOLDER, dir_fd=above)
        if stat.S_IMODE(os.fstat(fd).st_mode) != 0o700:
            _make_private(fd)
        for name, _ in read_xattrs(fd):
            if name in (ACCESS_ACL, DEFAULT_ACL):  # everything below would inherit them too
                os.removexattr(fd, name)
        inode = os.fstat(fd).st_ino
        if inner:
            os.mkdir(inner, 0o700, dir_fd=fd)
            inode = os.lstat(inner, dir_fd=fd).st_ino
    except OSError as error:
        raise FilesError(
            f"The staging folder {staging} cannot be created: {error.strerror}.",
            unchanged="The live tree was not changed.",
            hint=f"Let this user write in {folder}, or free some space there. Then restore again.",
        ) from error
    finally:
        for descriptor in (fd, above):
            if descriptor >= 0:
                os.close(descriptor)
    return MadeFolder(staging / inner, folder, inode)
