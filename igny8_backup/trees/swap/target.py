"""The paths of a tree swap: inside the root, or in the folder that holds it if the root is swapped."""

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
    def new_tree(self) -> Path:
        """The folder for the new tree: the staging folder or, with ``swap_root``, a folder in it."""
        return self.staging / self.root.name if self.swap_root else self.staging

    @property
    def _stamp(self) -> str:
        # Two roots may be in one folder.
        return f"{self.stamp}-{self.root.name}" if self.swap_root else self.stamp

    def make(self) -> None:
        """Make the staging folder and, with ``swap_root``, the new root in it. Raises ``FilesError``."""
        make_staging(self.folder, self._stamp)
        if self.swap_root:
            try:
                self.new_tree.mkdir(0o700)
            except OSError as error:
                raise FilesError(
                    f"{self.new_tree} cannot be made: {error.strerror}.",
                    unchanged="The live tree was not changed.",
                    hint=f"Free some space on the filesystem of {self.folder}, and restore again.",
                ) from None

    def plan(self, record: Record | None, on_skip: OnSkip) -> SwapPlan:
        """Return the plan of the swap. Call this once the staging folder holds the complete new tree.

        ``record`` is the record of the root in the index. With ``swap_root`` the new root gets its mode and
        time now, and ``on_skip`` receives what could not be set. Raises ``FilesError``.
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
    """Make a new, private staging folder in ``folder``; return its path. Raises ``FilesError``."""
    staging = folder / staging_name(stamp)
    try:
        staging.mkdir(0o700)
        staging.chmod(0o700)  # without set-group-id, which everything below would inherit
        fd = os.open(staging, FOLDER)
        try:
            for name, _ in read_xattrs(fd):
                if name in (ACCESS_ACL, DEFAULT_ACL):  # everything below would inherit them too
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
