"""Where a tree is swapped: child by child inside its root, or the root itself in the folder that holds it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from igny8_backup.errors import FilesError
from igny8_backup.trees.fs.metadata import Metadata
from igny8_backup.trees.fs.safe_dirs import FOLDER
from igny8_backup.trees.model.names import previous_name, staging_name
from igny8_backup.trees.model.records import Record
from igny8_backup.trees.model.skips import OnSkip
from igny8_backup.trees.model.xattrs import ACCESS_ACL, DEFAULT_ACL, read_xattrs
from igny8_backup.trees.swap.plan import SwapPlan, plan_swap


@dataclass(frozen=True, kw_only=True)
class SwapTarget:
    """The paths of one tree swap: ``root`` is the live tree, ``stamp`` the one of the restore.

    ``swap_root``: the root itself is swapped, instead of its children one by one.
    """

    root: Path
    stamp: str
    swap_root: bool = False

    @property
    def folder(self) -> Path:
        """The folder whose children are swapped."""
        return self.root.parent if self.swap_root else self.root

    @property
    def staging(self) -> Path:
        """The staging folder."""
        return self.folder / staging_name(self._stamp)

    @property
    def previous(self) -> Path:
        """The folder that holds the previous tree after the swap, and the restored one after an undo."""
        return self.folder / previous_name(self._stamp)

    @property
    def new_tree(self) -> Path:
        """The folder, in the staging folder, that the new tree is written into."""
        return self.staging / self.root.name if self.swap_root else self.staging

    @property
    def _stamp(self) -> str:
        # Two roots may lie in one folder.
        return f"{self.stamp}-{self.root.name}" if self.swap_root else self.stamp

    def make(self) -> None:
        """Make the staging folder. Raises ``FilesError``."""
        make_staging(self.folder, self._stamp)
        if self.swap_root:
            try:
                self.new_tree.mkdir(0o700)
            except OSError as error:
                raise FilesError(
                    f"{self.new_tree} cannot be made: {error.strerror}.",
                    unchanged="The live tree was not changed.",
                    hint=f"Make room on the filesystem of {self.folder}, and restore again.",
                ) from None

    def plan(self, record: Record | None, on_skip: OnSkip) -> SwapPlan:
        """Plan the swap, once the staging folder is complete. ``record`` is the root's own in the index.

        A root that is swapped itself gets its mode and time now. Raises ``FilesError``.
        """
        if not self.swap_root:
            return plan_swap(self.root, self.staging, record)
        if record is not None:
            fd = os.open(self.new_tree, FOLDER)
            try:
                Metadata(allow_set_id=False, on_skip=on_skip).apply(fd, record)
            except PermissionError as error:
                on_skip(b"", f"its mode and time cannot be set: {error.strerror}")
            finally:
                os.close(fd)
        return plan_swap(self.folder, self.staging, only=os.fsencode(self.root.name))


def make_staging(folder: Path, stamp: str) -> Path:
    """Make the staging folder: new, private, in ``folder``, for ``TreeWriter``. Returns its path.

    Raises ``FilesError`` when it cannot be made.
    """
    staging = folder / staging_name(stamp)
    try:
        staging.mkdir(0o700)
        staging.chmod(0o700)  # else everything below would inherit a set-group-id bit of the folder
        fd = os.open(staging, FOLDER)
        try:
            for name, _ in read_xattrs(fd):
                if name in (ACCESS_ACL, DEFAULT_ACL):  # inherited likewise
                    os.removexattr(fd, name)
        finally:
            os.close(fd)
    except OSError as error:
        raise FilesError(
            f"The staging folder {staging} cannot be made: {error.strerror}.",
            unchanged="The live tree was not changed.",
            hint=f"Give this user the right to write in {folder}, and restore again.",
        ) from error
    return staging
