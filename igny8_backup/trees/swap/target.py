"""Where a tree is swapped: child by child inside its root, or whole, in the folder that the root lies in."""

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
from igny8_backup.trees.swap.plan import SwapPlan, make_side, plan_swap


@dataclass(frozen=True, kw_only=True)
class Place:
    """The folder in which a side is made for the tree in ``root``, and the names of what is made there."""

    root: Path
    stamp: str
    whole: bool = False

    @property
    def folder(self) -> Path:
        return self.root.parent if self.whole else self.root

    @property
    def side(self) -> Path:
        return self.folder / staging_name(self._stamp)

    @property
    def kept(self) -> Path:
        """Where the other tree lies after a swap."""
        return self.folder / previous_name(self._stamp)

    @property
    def target(self) -> Path:
        """The folder in the side that the new tree is written into."""
        return self.side / self.root.name if self.whole else self.side

    @property
    def _stamp(self) -> str:
        # Two trees may lie in one folder.
        return f"{self.stamp}-{self.root.name}" if self.whole else self.stamp

    def make(self) -> None:
        """Makes the side, private; ``FilesError``."""
        make_side(self.folder, self._stamp)
        if self.whole:
            try:
                self.target.mkdir(0o700)
            except OSError as error:
                raise FilesError(
                    f"{self.target} cannot be made: {error.strerror}.",
                    unchanged="The live tree is as it was.",
                ) from None

    def plan(self, record: Record | None, on_skip: OnSkip) -> SwapPlan:
        """The swap, when the side is whole; ``record`` is the root's own in the index. A tree that is swapped
        whole gets its mode and time now."""
        if not self.whole:
            return plan_swap(self.root, self.side, record)
        if record is not None:
            fd = os.open(self.target, FOLDER)
            try:
                Metadata(allow_set_id=False, on_skip=on_skip).apply(fd, record)
            except PermissionError as error:
                on_skip(b"", f"its mode and time cannot be set: {error.strerror}")
            finally:
                os.close(fd)
        return plan_swap(self.folder, self.side, only=os.fsencode(self.root.name))
