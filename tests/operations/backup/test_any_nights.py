"""Incremental backups: after any sequence of changes and prunings, every kept backup restores.

Nights of a tree as Hypothesis thinks them up: changes, a backup, a pruning. Another run of the host may be
alive while litter is swept, and ``STATE_DIR`` may be lost. Every backup that retention keeps must restore to
what was there when it was made, compared by rsync: packs that it shares with one that is gone must be there
still, and packs that are mostly dead are emptied on the way. In the end nothing but what the kept backups
name lies in storage: packs that only pruned ones needed went, in two phases.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from igny8_backup.formats import keys
from igny8_backup.formats.manifest import Manifest
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.extract.plan import ExtractRequest, plan_extract, run_extract
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.retention.rules import Policy
from igny8_backup.store import open_store
from tests.operations.clocks import Clock
from tests.operations.nights import let_time_pass, running
from tests.services import unavailable
from tests.trees.changes import CHANGES, NAMES, Change, apply
from tests.trees.tools import rsync_differences

pytestmark = pytest.mark.slow

KEPT = 2
USUAL: dict[str, Any] = {}
"""How much is read: arguments of ``BackupRequest``."""


@dataclass(frozen=True)
class Night:
    """One night. ``trusted``: the next backup trusts the file times of this one; ``beside``: another run of
    the host is alive while this night is pruned; ``forgets``: ``STATE_DIR`` is lost afterwards."""

    changes: list[Change]
    reading: dict[str, Any]
    trusted: bool
    prunes: bool
    beside: bool
    forgets: bool


NIGHTS = st.lists(
    st.builds(
        Night,
        changes=st.lists(CHANGES, max_size=12),
        reading=st.sampled_from([*[USUAL] * 3, {"full": True}, {"checksum": True}]),
        trusted=st.sampled_from([True, True, True, False]),
        prunes=st.sampled_from([True, True, True, False]),
        beside=st.sampled_from([False, False, False, True]),
        forgets=st.sampled_from([*[False] * 9, True]),
    ),
    min_size=3,
    max_size=7,
)


def quiet_night() -> Night:
    return Night([], USUAL, trusted=True, prunes=True, beside=False, forgets=False)


@dataclass
class Site:
    """A tree ``root`` in the folder ``top``, its backups, and a copy of the tree for each backup."""

    top: Path
    context: BackupContext
    clock: Clock

    @property
    def root(self) -> Path:
        return self.context.config.sites["sites"]

    def back_up(self, reading: dict[str, Any] = USUAL) -> TreePart:
        """Make a backup and a copy of the tree; return the part of the manifest."""
        made = run_backup(self.context, BackupRequest(trees=("sites",), **reading))
        assert made.complete and made.manifest
        subprocess.run(["cp", "-a", "--", self.root, self.top / "copies" / made.id], check=True)
        (part,) = made.manifest.trees
        return part

    def packs(self) -> set[str]:
        """The packs in storage, without the lists of them."""
        return {item.key for item in self.context.store.list("packs") if not item.key.endswith(".json")}

    def kept(self) -> list[Manifest]:
        """The existing backups, newest first."""
        return self.context.catalog.manifests()

    def assert_restores(self) -> None:
        """Check that every kept backup restores to its copy."""
        for manifest in self.kept():
            place = self.top / "restored" / manifest.id
            request = ExtractRequest(backup_id=manifest.id, to_dir=place, only="sites")
            run_extract(self.context, plan_extract(self.context, request))
            found = rsync_differences(self.top / "copies" / manifest.id, place / "sites").splitlines()
            # The restored root is private, whatever the mode of the original was.
            assert [line for line in found if not line.endswith(" ./")] == []

    def close(self) -> None:
        shutil.rmtree(self.top)


def make_site(context: BackupContext) -> Site:
    """A new site with its own storage, otherwise configured like ``context``."""
    if not shutil.which("rsync"):
        unavailable("rsync is not installed.")
    top, clock = Path(tempfile.mkdtemp(prefix="igny8-backup-tests-")), Clock()
    for name in ("root", "copies", "storage"):
        (top / name).mkdir()
    config = replace(
        context.config,
        sites={"sites": top / "root"},
        state_dir=top / "state",
        scratch_dir=top,
        retention=Policy(last=KEPT),
        shrink={"sites": None},  # any night may delete nearly everything
    )
    store = open_store(FileSystemStorage(top / "storage"), config.prefix)
    return Site(top, replace(context, config=config, store=store, own_store=store, clock=clock), clock)


def packs_of(*parts: TreePart) -> set[str]:
    return {pack.key for part in parts for pack in part.packs}


def test_backup_unchanged_tree_stores_nothing(context: BackupContext) -> None:
    site = make_site(context)
    try:
        for number, name in enumerate(NAMES):
            apply(site.root, Change("write", name, name, number))
        first = site.back_up()
        assert len(first.packs) == 1 and first.bytes < 100
        let_time_pass(site.context, "sites")
        for _ in range(2):
            assert site.back_up().packs == first.packs
        site.assert_restores()
    finally:
        site.close()


def test_backup_mostly_dead_pack_is_rewritten_and_pruned(context: BackupContext) -> None:
    site = make_site(context)
    try:
        for number, name in enumerate(NAMES):
            apply(site.root, Change("write", name, name, 400 * number))
        spend(site, quiet_night())
        (first,) = site.packs()
        same_size_and_mtime = Change("change, size and mtime kept", "b", "", 0)
        deleted = (Change("delete", name, "", 0) for name in NAMES if name not in ("b", "ä"))
        for change in (same_size_and_mtime, *deleted):
            apply(site.root, change)
        spend(site, quiet_night())
        assert first in packs_of(*site.kept()[0].trees), "ä lies in it"
        spend(site, quiet_night())
        assert first not in packs_of(*site.kept()[0].trees)
        assert first in packs_of(*site.kept()[1].trees)
        spend(site, quiet_night())
        assert first in site.packs(), "marked"
        spend(site, quiet_night())
        assert first not in site.packs()
        site.assert_restores()
    finally:
        site.close()


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(nights=NIGHTS)
def test_backup_any_sequence_of_nights_every_kept_backup_restores(
    context: BackupContext, nights: list[Night]
) -> None:
    site = make_site(context)
    try:
        for number, name in enumerate(NAMES):
            apply(site.root, Change("write", name, name, 400 * number))
        for night in nights:
            for change in night.changes:
                apply(site.root, change)
            spend(site, night)
        for _ in range(2):
            assert prune(site.context).complete
            site.clock.forward(hours=21)
        kept = site.kept()
        assert len(kept) == KEPT
        assert site.packs() == packs_of(*(part for manifest in kept for part in manifest.trees))
        site.assert_restores()
    finally:
        site.close()


def spend(site: Site, night: Night) -> None:
    """Make a backup and, if the night says so, prune."""
    site.clock.forward(days=1)
    part = site.back_up(night.reading)
    if night.trusted:
        let_time_pass(site.context, "sites")
    if night.prunes:
        other = keys.make_id(site.clock(), "0e15e0")
        if night.beside:
            running(site.context, other, requested=("uploads",))
        before = site.packs()
        assert prune(site.context).complete
        gone = before - site.packs()
        assert not gone & packs_of(part)
        if night.beside:
            assert not gone, "a running backup of the host may reuse any pack"
            site.context.store.delete(keys.run_key(other))
    if night.forgets:
        shutil.rmtree(site.context.config.state_dir)
