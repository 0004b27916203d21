"""One bad object is one line of output: no operation fails, hangs, or does not do the rest because of it."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.errors import BackupError, StorageError
from igny8_backup.formats import keys
from igny8_backup.formats.documents.annotations import STORED
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.drill.choose import choose
from igny8_backup.operations.history.read import read_history
from igny8_backup.operations.history.select_copies import select_copies
from igny8_backup.operations.maintain.orphans import find_orphans
from igny8_backup.operations.maintain.pin import pin, unpin
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.monitor.run import monitor
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify, verify_all
from igny8_backup.retention.rules import Policy
from tests.operations.clocks import Clock, by_clock

pytestmark = pytest.mark.slow

Make = Callable[[Path], None]


def link(path: Path) -> None:
    path.symlink_to("/etc/hostname")


def bind(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the path of a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def write(data: bytes) -> Make:
    def make(path: Path) -> None:
        path.write_bytes(data)

    return make


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(200 << 20)


BAD: dict[str, Make] = {
    "link": link,
    "pipe": lambda path: os.mkfifo(path),
    "socket": bind,
    "huge": huge,
    "empty": write(b""),
    "braces": write(b"[" + b"{}," * (5 << 20) + b"{}]"),
    "zeros": write(b'{"schema": 1, "x": [' + b"0," * (7 << 20) + b"0]}"),
    "deep": write(b"[" * 100_000),
    "nan": write(b'{"schema": NaN}'),
    "twice": write(b'{"schema": 1, "schema": 1}'),
    "types": write(b'{"schema": "1", "id": 5, "parts": {}}'),
    "number": write(b'{"schema": 1, "id": ' + b"9" * 5000 + b"}"),
    "schema": write(b'{"schema": 99}'),
    "text": write(b"\xff\xfe\x00"),
}
"""How to make each bad object."""

DEEP = 1100
"""More folders in one another than Python allows calls."""
FIRST = "20260801T000000Z-aaaaaa"
PLACES = {
    "manifest": f"backups/{FIRST}/manifest.json",
    "pin": f"backups/{FIRST}/pin.json",
    "check": f"checks/{FIRST}/20260801T010000Z-stored.json",
    "run": f"runs/{FIRST}.json",
    "marker": "runs/0-storage.json",
    "collected": "runs/0-documents.zst",
    "marks": "marks.json",
    "damage": "damage.json",
    "lock": f"locks/{FIRST}.json",
}
"""Where bad objects are put."""


@dataclass(frozen=True)
class Storage:
    """A storage with two backups, of which the policy keeps one."""

    context: BackupContext
    clock: Clock
    older: str
    newer: str

    def put(self, key: str, make: Make) -> None:
        root = self.context.store.local_path()
        assert root is not None
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        make(path)

    def age(self, key: str) -> None:
        """Make a file ten minutes old: a claim that cannot be read holds the lock for five minutes."""
        root = self.context.store.local_path()
        assert root is not None
        then = time.time() - 600
        os.utime(root / key, (then, then), follow_symlinks=False)


@pytest.fixture
def stored(context: BackupContext) -> Storage:
    clock = Clock()
    found = by_clock(replace(context, config=replace(context.config, retention=Policy(last=1))), clock)
    made = []
    for _ in range(2):
        clock.forward(hours=1)
        made.append(run_backup(found, BackupRequest(trees=("sites", "uploads"))).id)
    return Storage(found, clock, *made)


def dig(root: Path) -> None:
    """Nest folders until the path of the innermost is too long to be listed, for root too."""
    root.mkdir(parents=True, exist_ok=True)
    here = os.open(root, os.O_RDONLY)
    for _ in range(25):
        os.mkdir("x" * 200, dir_fd=here)
        deeper = os.open("x" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)


@pytest.mark.parametrize("place", ["packs/web-1/sites", "backups/NEWER", f"backups/{FIRST}", "checks"])
def test_folder_that_cannot_be_listed_stops_nothing_and_keeps_what_it_may_hold(
    stored: Storage, place: str
) -> None:
    context, place = stored.context, place.replace("NEWER", stored.newer)
    root = context.store.local_path()
    assert root is not None
    dig(root / place)
    with pytest.raises(StorageError):
        list(context.store.list(place))
    stored.clock.forward(hours=1)
    history = read_history(context)
    assert {item.id for item in history.entries if item.manifest} == {stored.older, stored.newer}
    assert [key.startswith(f"{place}/") for key in history.unread] == [True]
    assert all(copy.fit for copy in history.standings.copies), "what is not listed is not missing"
    result = prune(context)
    assert (result.removed, result.swept, result.complete) == ((), (), False)
    assert all(f"{place}/" in block.reason and "\n" not in block.reason for block in result.plan.blocked)
    selected = select_copies(context, None, databases=(), trees=("sites",))
    assert [manifest.id for manifest, _ in selected.trees] == [stored.newer]
    assert not monitor(context).failed[0].of.startswith("storage"), "the storage itself works"


@pytest.mark.parametrize("bad", BAD)
def test_bad_object_stops_nothing(stored: Storage, bad: str) -> None:
    context = stored.context
    for key in PLACES.values():
        stored.put(key, BAD[bad])
    stored.age(PLACES["lock"])
    stored.clock.forward(hours=1)
    history = read_history(context)
    assert {item.id for item in history.entries if item.manifest} == {stored.older, stored.newer}
    (unreadable,) = (item for item in history.entries if not item.manifest)
    assert unreadable.id == FIRST and unreadable.problem and "\n" not in unreadable.problem
    selected = select_copies(context, None, databases=(), trees=("sites",))
    assert [manifest.id for manifest, _ in selected.trees] == [stored.newer]
    assert choose(context, "")[0][0].manifest.id == stored.newer
    assert not monitor(context).failed[0].of.startswith("storage"), "the storage itself works"
    assert f"the manifest of backup {FIRST} cannot be read" in str(monitor(context).failed)
    find_orphans(context)
    assert not verify(context, VerifyRequest(backup_id=stored.newer)).findings
    assert FIRST in " ".join(verify_all(context, VerifyRequest()).problems())
    pin(context, stored.older, "needed")
    unpin(context, stored.older)
    with pytest.raises(BackupError):
        pin(context, FIRST, "x")
    with pytest.raises(BackupError):
        verify(context, VerifyRequest(backup_id=FIRST))
    result = prune(context)
    assert result.removed == (stored.older,) and result.unreadable == (FIRST,) and not result.complete
    made = run_backup(context, BackupRequest(trees=("sites",)))
    assert made.whole and not made.errors


@pytest.mark.parametrize("bad", ["link", "pipe", "huge", "empty"])
def test_bad_object_in_a_backup_is_its_damage(stored: Storage, bad: str) -> None:
    context = stored.context
    part = context.catalog.get(stored.newer).trees[0]
    stored.put(part.stored_index.key, BAD[bad])
    stored.clock.forward(hours=1)
    result = verify(context, VerifyRequest(backup_id=stored.newer))
    assert [finding.damage.key for finding in result.findings] == [part.stored_index.key]
    (copy,) = (item for item in read_history(context).standings.of_backup(stored.newer) if not item.fit)
    assert copy.damaged and copy.part.name == "sites"


def test_key_that_nobody_can_have_written_stops_no_sweep(stored: Storage) -> None:
    context, root = stored.context, stored.context.store.local_path()
    assert root is not None
    orphan = keys.pack_key("web-1", "sites", keys.pack_name(FIRST, 1), ".zst")
    strange = [
        f"packs/web-1/sites/{FIRST}-0001.tar.zst\nnew",
        f"packs/web-1/sites/{FIRST}-0001\x1b[2J",
        f"packs/web-1/sites/{FIRST}-0001\udcff",
        f"runs/{FIRST}.json\n",
        f"backups/{FIRST}/..\\evil",
    ]
    for key in (orphan, *strange):
        stored.put(key, write(b"left"))
    assert not prune(context).swept
    stored.clock.forward(hours=21)
    assert [item.key for item in prune(context).swept] == [orphan]
    for key in strange:
        assert (root / key).exists()
    assert {item.key for item in find_orphans(context).orphans} >= set(strange), "they are listed"


def test_folders_nested_without_end_are_listed(stored: Storage) -> None:
    root = stored.context.store.local_path()
    assert root is not None
    descriptor = os.open(root, os.O_RDONLY)
    made = 0
    with suppress(OSError):
        for _ in range(DEEP):
            os.mkdir("d", dir_fd=descriptor)
            inner = os.open("d", os.O_RDONLY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor, made = inner, made + 1
    os.close(descriptor)
    assert made == DEEP
    try:
        assert {item.id for item in read_history(stored.context).entries} == {stored.older, stored.newer}
    finally:
        # pytest could not remove the folders: shutil.rmtree of Python 3.11 calls itself for each of them.
        subprocess.run(["rm", "-rf", root / "d"], check=True)


def test_annotation_that_cannot_be_read_keeps_the_copies_of_its_host(
    stored: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a check may say that a newer pack is damaged, so nothing is removed, and that is said."""
    key = keys.check_key(stored.newer, stored.clock(), STORED)
    stored.put(key, write(b"{}"))
    real = os.open

    def refused(path: Any, *args: Any, **options: Any) -> int:
        if str(path).endswith(key):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **options)

    monkeypatch.setattr(os, "open", refused)
    result = prune(stored.context)
    assert not result.removed and not result.complete
    assert {block.reason for block in result.plan.blocked} == {f"{key} cannot be read"}
    assert not result.problem
