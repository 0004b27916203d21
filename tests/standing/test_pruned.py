"""The verdict on a copy does not depend on whether retention has kept the copy it was compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igny8_backup.catalog.select import select
from igny8_backup.errors import BackupError
from igny8_backup.formats.acceptance import Acceptance, JudgedPart
from igny8_backup.formats.comparison import Baseline, Expected
from igny8_backup.formats.documents.annotations import Annotations
from igny8_backup.formats.manifest import FAILED, Manifest
from igny8_backup.retention import policy as retention
from igny8_backup.retention.rules import Policy
from igny8_backup.standing import SUSPECT, Standings, judge, judge_again, record_baselines
from tests.standing.history import (
    HOST,
    NOW,
    SITES,
    START,
    accepted,
    backup,
    half_but_logs,
    id_of,
    standings,
    summary,
    tree,
)


@dataclass
class Storage:
    """The backups of one tree, as runs, acceptances and retention change them night by night."""

    policy: Policy
    manifests: list[Manifest] = field(default_factory=list)
    annotations: dict[str, Annotations] = field(default_factory=dict)
    night: int = 0

    def standings(self, anew: str = "") -> Standings:
        since = {SITES: anew} if anew else {}
        return judge(self.manifests, self.annotations, now=NOW, shrink=half_but_logs, anew=since)

    def back_up(self, size: int, *, state: str = "", expected: Expected | None = None) -> None:
        self.night += 1
        part = tree(self.night, files=size, size=size, expected=expected)
        made = backup(self.night, replace(part, state=state) if state else part)
        self.manifests.append(record_baselines(made, self.standings().baselines, lambda backup_id: True))

    def accept(self, night: int, *, withdraw: bool = False) -> None:
        backup_id, before = id_of(night), self.standings()
        if before.of(backup_id, SITES) is None:
            return
        self.change(backup_id, parts=() if withdraw else accepted(night, SITES).parts)
        for later, found in judge_again(before, self.standings(backup_id), SITES, backup_id).items():
            self.change(later, judged=(JudgedPart(kind="files", name="sites", baseline=found),))

    def change(self, backup_id: str, **changed: Any) -> None:
        notes = self.annotations.get(backup_id, Annotations())
        before = notes.acceptance or Acceptance(schema=1, id=backup_id)
        after = replace(before, **changed)
        self.annotations[backup_id] = replace(notes, acceptance=after)

    def prune(self) -> None:
        backups = []
        for manifest in self.manifests:
            copies = self.standings().of_backup(manifest.id)
            unfit = {copy.part: copy.why for copy in copies if not copy.fit}
            parts = tuple(copy.part for copy in copies)
            backups.append(
                retention.Backup(id=manifest.id, started=manifest.started, parts=parts, unfit=unfit)
            )
        removed = retention.plan(backups, self.policy, START + timedelta(days=self.night)).to_remove
        self.manifests = [item for item in self.manifests if item.id not in removed]
        for backup_id in removed:
            self.annotations.pop(backup_id, None)

    def verdicts(self) -> Mapping[str, bool]:
        return {copy.backup_id: copy.suspect for copy in self.standings().copies}

    def restored(self) -> str:
        """The backup that a restore without an id reads; empty if it refuses."""
        newest_first = sorted(self.manifests, key=lambda item: item.id, reverse=True)
        try:
            found = select(
                newest_first, databases=(), trees=("sites",), host=HOST, standings=self.standings()
            )
        except BackupError:
            return ""
        return found.trees[0][0].id


steps = st.lists(
    st.one_of(
        st.tuples(st.just("backup"), st.integers(0, 100)),
        st.tuples(st.just("failed"), st.just(0)),
        st.tuples(st.just("restored"), st.integers(0, 100)),
        st.tuples(st.just("accept"), st.integers(1, 12)),
        st.tuples(st.just("withdraw"), st.integers(1, 12)),
        st.tuples(st.just("prune"), st.just(0)),
    ),
    max_size=25,
)
policies = st.builds(Policy, last=st.integers(1, 3), daily=st.integers(0, 3), weekly=st.integers(0, 2))


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(policies, steps)
def test_judge_law_pruning_changes_no_verdict_and_no_restore(
    policy: Policy, found: list[tuple[str, int]]
) -> None:
    storage = Storage(policy)
    for step, value in [*found, ("prune", 0)]:
        before, restored = storage.verdicts(), storage.restored()
        match step:
            case "backup":
                storage.back_up(value)
            case "failed":
                storage.back_up(0, state=FAILED)
            case "restored":
                storage.back_up(value, expected=Expected(by="restore", files=value, bytes=value))
            case "prune":
                storage.prune()
                after = storage.verdicts()
                assert after == {key: before[key] for key in after}
                assert storage.restored() == restored
            case _:
                storage.accept(value, withdraw=step == "withdraw")
                # The records say what judging without them says: nothing earlier was pruned in between.
                changed = storage.standings().of(id_of(value), SITES)
                assert changed is None or step == "withdraw" or not changed.suspect
        good = [key for key, suspect in storage.verdicts().items() if not suspect]
        assert storage.restored() == max(good, default="")


def test_judge_slow_shrinkage_stays_good_after_the_copies_between_are_pruned() -> None:
    storage = Storage(Policy(last=1, weekly=1))
    for size in (100, 60, 40, 30, 20):
        storage.back_up(size)
    assert summary(storage.standings(), SITES) == ". . . . ."
    storage.prune()
    assert [item.id for item in storage.manifests] == [id_of(1), id_of(5)]
    assert summary(storage.standings(), SITES) == ". ."
    without = [backup(1, tree(1, files=100, size=100)), backup(5, tree(5, files=20, size=20))]
    assert summary(standings(without), SITES) == ". S", "a manifest of an earlier release records nothing"


def test_judge_record_of_an_untrusted_baseline_is_not_believed() -> None:
    planted = backup(2, tree(2, files=1, size=1))
    baseline = Baseline(backup_id=planted.id, files=1, bytes=1)
    lost = backup(3, replace(tree(3, files=1, size=1), baseline=baseline))
    history = [backup(1, tree(1)), planted, lost]
    found = standings(history, untrusted={planted.id: "nobody signed it"})
    copy = found.of(lost.id, SITES)
    assert copy and [reason.kind for reason in copy.unfit] == [SUSPECT]
    later = replace(baseline, backup_id=id_of(9))
    history[2] = backup(3, replace(tree(3, files=1, size=1), baseline=later))
    copy = standings([history[0], history[2]]).of(lost.id, SITES)
    assert copy and copy.suspect, "nothing is compared with a later copy"


def test_record_baselines_without_a_baseline_to_vouch_for_records_nothing() -> None:
    found = {SITES: Baseline(backup_id=id_of(1), files=10, bytes=1000)}
    (part,) = record_baselines(backup(2, tree(2)), found, lambda backup_id: False).trees
    assert part.baseline is None
    (part,) = record_baselines(backup(2, tree(2)), found, lambda backup_id: True).trees
    assert part.baseline == found[SITES]
    (part,) = record_baselines(backup(2, tree(2)), {}, lambda backup_id: True).trees
    assert part.baseline == Baseline(), "the first copy was compared with nothing"
    (part,) = record_baselines(backup(2, tree(2), safety=True), found, lambda backup_id: True).trees
    assert part.baseline is None
