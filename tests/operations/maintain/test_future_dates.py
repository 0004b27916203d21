"""What is dated in the future counts for nothing, stops nothing, and is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from igny8_backup.catalog.annotations import read_marks, write_marks
from igny8_backup.catalog.given import Given
from igny8_backup.errors import RefusedError
from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.annotations import STORED, CheckedPart, Mark
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.drill.choose import choose
from igny8_backup.operations.history.select_copies import select_copies
from igny8_backup.operations.maintain.pruning.prune import PruneResult, prune
from igny8_backup.operations.monitor.run import monitor
from igny8_backup.operations.verify.result import CheckRecorder
from igny8_backup.operations.verify.run import newest_backup
from igny8_backup.retention.rules import Policy
from igny8_backup.streams.pipeline import from_bytes
from tests.operations.clocks import Clock, by_clock
from tests.operations.nights import running

pytestmark = pytest.mark.slow

BOTH = BackupRequest(trees=("sites", "uploads"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def nightly(context: BackupContext, clock: Clock) -> BackupContext:
    return by_clock(replace(context, config=replace(context.config, retention=Policy(last=1))), clock)


def night(context: BackupContext, clock: Clock) -> str:
    clock.forward(hours=1)
    return run_backup(context, BOTH).id


def copy_dated(context: BackupContext, backup_id: str, moment: datetime) -> str:
    """Store a copy of a backup under an id of that time, as whoever can write to the storage may do."""
    ahead = keys.make_id(moment, "abcdef")
    for item in list(context.store.list(keys.backup_folder(backup_id))):
        if not item.key.endswith("/manifest.json"):
            context.store.put(item.key.replace(backup_id, ahead), context.store.open(item.key))
    manifest = json.loads(context.store.read_small(keys.manifest_key(backup_id)))
    text = json.dumps({**manifest, "trees": []}).replace(backup_id, ahead)
    trees = json.loads(json.dumps(manifest["trees"]).replace(f"backups/{backup_id}", f"backups/{ahead}"))
    made = {**json.loads(text), "trees": trees, "started": f"{keys.id_time(ahead).isoformat()}"}
    context.store.put(keys.manifest_key(ahead), from_bytes(json.dumps(made).encode()))
    return ahead


def dates(context: BackupContext) -> tuple[bool, str]:
    (found,) = (item for item in monitor(context).conditions if item.name == "dates")
    return found.ok, found.text


def future(result: PruneResult) -> str:
    assert not result.complete and ("", "dated in the future") in result.alarms
    return "\n".join(line for line in result.problems() if line.startswith("IN THE FUTURE"))


def test_backup_dated_in_the_future_is_never_the_newest(nightly: BackupContext, clock: Clock) -> None:
    first, second = night(nightly, clock), night(nightly, clock)
    ahead = copy_dated(nightly, first, clock.now + timedelta(days=400))
    selected = select_copies(nightly, None, databases=(), trees=("sites",))
    assert [manifest.id for manifest, _ in selected.trees] == [second]
    assert f"Backup {ahead} is not used for 'sites', because its copy is future" in selected.notes[0]
    assert choose(nightly, "")[0][0].manifest.id == second
    assert newest_backup(nightly) == second
    ok, text = dates(nightly)
    assert not ok and f"backup {ahead}" in text
    result = prune(nightly)
    assert result.removed == (first,), "and pushes out no other one"
    assert f"backup {ahead} is dated later than now" in future(result)
    named = select_copies(nightly, Given.one(nightly.catalog.get(ahead)), databases=(), trees=("sites",))
    assert (
        f"WARNING: the copy of 'sites' in backup {ahead} is future: it is dated 399 days ahead"
        in named.notes[0]
    )


def test_restore_on_a_machine_whose_clock_is_behind_says_so(nightly: BackupContext, clock: Clock) -> None:
    made = night(nightly, clock)
    clock.now -= timedelta(days=900)
    with pytest.raises(RefusedError, match=f"{made}.*Check the clock of this machine"):
        select_copies(nightly, None, databases=(), trees=("sites",))
    assert not prune(nightly).removed


def test_backup_dated_a_few_minutes_ahead_is_believed(nightly: BackupContext, clock: Clock) -> None:
    first = night(nightly, clock)
    clock.now -= timedelta(minutes=4)
    assert dates(nightly) == (True, "nothing is dated in the future")
    selected = select_copies(nightly, None, databases=(), trees=("sites",))
    assert [manifest.id for manifest, _ in selected.trees] == [first] and not selected.notes
    texts = {item.name: item.text for item in monitor(nightly).conditions if "sites" in item.of}
    assert "future" not in " ".join(texts.values())


@pytest.mark.parametrize("field", ["heartbeat", "started", "finished"])
def test_run_dated_in_the_future_stops_no_sweep_and_is_named(
    nightly: BackupContext, clock: Clock, field: str
) -> None:
    made = night(nightly, clock)
    later = clock.now + timedelta(days=400)
    forged = keys.make_id(later if field == "started" else clock.now - timedelta(days=1), "abcdef")
    outcome = "failed" if field == "finished" else "running"
    dead = {"heartbeat": clock.now - timedelta(days=1), "outcome": outcome}
    running(nightly, forged, **{**dead, field: later})
    orphan = keys.pack_key("web-1", "sites", keys.pack_name(forged, 1), ".zst")
    nightly.store.put(orphan, from_bytes(b"left"))
    ok, text = dates(nightly)
    assert not ok and text.endswith(f"the record of run {forged}")
    assert f"the record of run {forged}" in future(prune(nightly))
    clock.forward(hours=21)
    prune(nightly)
    assert not nightly.store.exists(orphan)
    assert nightly.store.exists(keys.manifest_key(made))


def test_mark_dated_in_the_future_delays_a_removal_once_only(nightly: BackupContext, clock: Clock) -> None:
    night(nightly, clock)
    orphan = keys.pack_key("web-1", "sites", keys.pack_name("20200101T000000Z-abcdef", 1), ".zst")
    nightly.store.put(orphan, from_bytes(b"left"))
    write_marks(nightly.store, (Mark(key=orphan, since=clock.now + timedelta(days=400)),))
    prune(nightly)
    (mark,) = read_marks(nightly.store)
    assert mark.since <= clock.now
    clock.forward(hours=21)
    prune(nightly)
    assert not nightly.store.exists(orphan)


def test_check_dated_in_the_future_is_named(nightly: BackupContext, clock: Clock) -> None:
    made = nightly.catalog.get(night(nightly, clock))
    now = clock.now
    clock.forward(days=400)
    parts = [CheckedPart(kind="files", name="sites")]
    recorder = CheckRecorder(nightly, made, depth=STORED, parts=parts)
    recorder.record()
    clock.now = now
    ok, text = dates(nightly)
    assert not ok and "the check checks/" in text and made.id in text
    assert "the check checks/" in future(prune(nightly))


@pytest.mark.parametrize(
    "forge", [lambda made: made + timedelta(days=9000), lambda made: made - timedelta(1)]
)
def test_backup_whose_start_contradicts_its_id_cannot_be_read(
    nightly: BackupContext, clock: Clock, forge: Callable[[datetime], datetime]
) -> None:
    made = nightly.catalog.get(night(nightly, clock))
    forged = records.to_json(replace(made, started=forge(made.started)))
    nightly.store.put_small(keys.manifest_key(made.id), forged)
    (entry,) = nightly.catalog.entries()
    assert entry.manifest is None and "than its id" in entry.problem
