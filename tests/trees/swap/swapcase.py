"""Two trees to swap, and the checks of their states afterwards."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from igny8_backup.trees.model.names import is_own
from igny8_backup.trees.model.records import Record
from igny8_backup.trees.swap.plan import SwapPlan, plan_swap
from igny8_backup.trees.swap.swap import state
from igny8_backup.trees.swap.target import make_staging
from tests.trees.tools import look

STAMP = "20261122T021500Z"
Seen = dict[bytes, tuple[object, ...]]
WAYS = pytest.mark.parametrize("renames_only", [False, True], ids=["exchange", "renames"])


def seen(folder: Path) -> Seen:
    """What the application sees in a root: everything but names of this package."""
    return {name: what for name, what in look(folder).items() if not is_own(name.split(b"/")[0])}


def of_root(root: Path) -> tuple[int, int, int, int]:
    status = root.stat()
    return status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns


class Case:
    """A root with an old tree, a staging folder with a new one, and the plan to swap them, from a journal."""

    def __init__(self, top: Path) -> None:
        self.root = top / "root"
        self.root.mkdir(parents=True)
        self.fill(self.root, "old")
        (self.root / "only-old").mkdir()
        (self.root / "only-old" / "file").write_text("old")
        (self.root / b"caf\xe9%\n".decode("utf-8", "surrogateescape")).write_text("old")
        (self.root / "kind").mkdir()
        (self.root / ".before-20261121T021500Z").mkdir()
        (self.root / ".before-20261121T021500Z" / "file").write_text("an earlier restore")
        self.staging = make_staging(self.root, STAMP).path
        self.fill(self.staging, "new")
        (self.staging / "only-new").write_text("new")
        (self.staging / "kind").symlink_to("dir")
        self.root.chmod(0o2750)
        os.utime(self.root, ns=(1_600_000_000_000_000_001, 1_600_000_000_000_000_001))
        self.old, self.new = seen(self.root), seen(self.staging)
        self.old_root = of_root(self.root)
        owner = (self.root.stat().st_uid, self.root.stat().st_gid)
        record = Record(
            path=b"", kind="dir", mode=0o711, uid=owner[0], gid=owner[1], user="", group="", size=0,
            mtime_ns=1_500_000_000_987_654_321, ctime_ns=0, inode=1,
        )  # fmt: skip
        self.new_root = (0o40711, *owner, 1_500_000_000_987_654_321)
        self.journal = json.dumps(self.planned(record).to_plain())

    def planned(self, record: Record | None = None) -> SwapPlan:
        """The plan of a swap now. The folder of an earlier restore is known; one of the same kind is not."""
        return plan_swap(self.root, self.staging, record, own={b".before-20261121T021500Z"})

    @staticmethod
    def fill(folder: Path, what: str) -> None:
        (folder / "dir" / "sub").mkdir(parents=True)
        (folder / "dir" / "sub" / what).write_text(what)
        (folder / "file").write_text(what)
        (folder / "link").symlink_to(what)

    @property
    def plan(self) -> SwapPlan:
        return SwapPlan.from_plain(json.loads(self.journal))

    def assert_new(self) -> None:
        assert state(self.plan) == "new"
        assert (seen(self.root), seen(self.plan.find_staging())) == (self.new, self.old)
        assert of_root(self.root) == self.new_root
        self.assert_ours()

    def assert_old(self) -> None:
        assert state(self.plan) == "old"
        assert (seen(self.root), seen(self.plan.find_staging())) == (self.old, self.new)
        assert of_root(self.root) == self.old_root
        self.assert_ours()

    def assert_ours(self) -> None:
        ours = {name for name in os.listdir(self.root) if is_own(os.fsencode(name))}
        assert ours == {".before-20261121T021500Z", self.plan.find_staging().name}
        assert not [name for name in os.listdir(self.plan.find_staging()) if name.startswith(".igny8")]
