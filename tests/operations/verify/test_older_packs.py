"""Packs that only older backups need are read once a week, and damage in one names all of these backups."""

from __future__ import annotations

from dataclasses import replace

import pytest

from igny8_backup.catalog.lists import Lists
from igny8_backup.chunks import writer
from igny8_backup.chunks.cutter import compiled_version
from igny8_backup.errors import UsageError
from igny8_backup.formats import keys
from igny8_backup.formats.chunked import FULL
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.verify.all_results import AllVerified
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify_backups
from tests.chunks.archives import noise
from tests.operations.backup.chunked.dumping import Host

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not compiled_version(), reason="pyfastcdc is not installed"),
]


def verified(machine: Host) -> AllVerified:
    context = replace(machine.context, lists=Lists())
    return verify_backups(context, VerifyRequest(older_packs=True))


def read_of(found: AllVerified, newest: str) -> list[str]:
    """Return the keys of the objects of older backups that were read."""
    return [key for result in found.results if result.check.id != newest for key in result.check.sound or ()]


def test_packs_of_older_backups_are_read_once_in_seven_days(
    context: BackupContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PACK_BYTES", 40_000)
    machine = Host(context)
    machine.dump(noise(600_000))
    machine.dump(b"one row more" + noise(600_000))
    machine.dump(noise(50_000), FULL)
    first, second, newest = machine.made
    older = {key for key in machine.packs() if keys.writer(key) != newest}
    older |= {item.key for backup_id in (first, second) for item in machine.part(backup_id).lists()}
    read: list[str] = []
    for _ in range(7):
        found = verified(machine)
        assert found.complete and found.results[-1].check.id == newest
        read += read_of(found, newest)
        machine.clock.forward(days=1)
    assert sorted(read) == sorted(older), "each of them once"
    again = read_of(verified(machine), newest)
    assert 0 < len(again) < len(older)
    machine.clock.forward(days=30)
    assert sorted(read_of(verified(machine), newest)) == sorted(older), "a missed week is made up for"
    store = machine.context.store
    harmed = next(key for key in again if key.endswith(".chunks.zst") and keys.writer(key) == first)
    store.put_small(harmed, bytes(store.size(harmed)))
    machine.clock.forward(days=7)
    damaged = verified(machine)
    assert (
        damaged.damaged
        and f"SHARED: {harmed} is needed by 2 backups: {second}, {first}" in damaged.problems()
    )


@pytest.mark.parametrize(("backup_id", "every"), [("20261122T021500Z-7f3a9c", False), ("", True)])
def test_older_packs_of_one_or_all_backups_are_refused(
    context: BackupContext, backup_id: str, every: bool
) -> None:
    with pytest.raises(UsageError, match="--older-packs cannot be combined"):
        verify_backups(context, VerifyRequest(backup_id=backup_id, older_packs=True), every=every)
