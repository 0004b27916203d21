"""A rotation that is killed at any write: every backup stays complete, and the next rotation finishes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage

from igny8_backup.formats.manifest import Manifest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.rotate.plan import plan_rotation
from igny8_backup.operations.rotate.run import rotate
from igny8_backup.store.folder.local import LocalStore
from igny8_backup.streams import Blocks
from tests.operations.rotate.conftest import Site


class Killed(BaseException):
    """The process ended here."""


class DyingStore(LocalStore):
    """A folder into which one can write ``writes`` times; then the process ends.

    ``before``: it ends before the last of these writes, and has deleted what the write would replace, as a
    storage does that cannot replace an object at once.
    """

    writes = 10**9
    before = False

    def _count(self, name: str) -> None:
        self.writes -= 1
        if self.writes == 0 and self.before:
            self._path(name).unlink(missing_ok=True)
            raise Killed

    def _die(self) -> None:
        if self.writes == 0:
            raise Killed

    def put(self, key: str, blocks: Blocks, *, estimate: int | None = None, claimed: bool = False) -> None:
        self._count(self.prefix + key)
        super().put(key, blocks, estimate=estimate, claimed=claimed)
        self._die()

    def put_small(self, key: str, data: bytes) -> None:
        self._count(self.prefix + key)
        super().put_small(key, data)
        self._die()

    def delete(self, key: str) -> None:
        super().delete(key)
        self.writes -= 1
        self._die()


def kill(site: Site, writes: int, *, before: bool) -> bool:
    """Rotate to bob, and end after so many writes; return whether the rotation ended before."""
    with site.open("bob") as context:
        store = DyingStore(
            FileSystemStorage(site.settings.STORAGES["dbbackup"]["OPTIONS"]["location"]), "igny8/"
        )
        store.writes, store.before = writes, before
        dying = replace(context, store=store)
        file = site.people["alice"].file
        plan, _ = plan_rotation(dying, file)
        try:
            rotate(dying, plan, file)
        except Killed:
            return False
    return True


def assert_complete(context: BackupContext, made: list[Manifest]) -> None:
    """Every backup is there and trusted, with all of its objects."""
    entries = context.catalog.entries()
    assert {entry.id for entry in entries} == {manifest.id for manifest in made}
    for entry in entries:
        assert entry.manifest and not entry.untrusted
        assert not any(tree.packs_problem for tree in entry.manifest.trees)
        for item in entry.manifest.objects():
            assert context.store.size(item.key) == item.stored_bytes


@pytest.fixture
def saved(site: Site, tmp_path: Path, trees: tuple[Path, Path]) -> Iterator[tuple[list[Manifest], Any]]:
    """Two backups that share packs, and a function that brings the storage and the state of the host back."""
    made = [site.back_up("alice")]
    (trees[0] / "a" / "page").write_text("changed")
    made.append(site.back_up("alice"))
    for name in ("storage", "state"):
        shutil.copytree(tmp_path / name, tmp_path / f"{name}-saved")

    def reset() -> None:
        for name in ("storage", "state"):
            shutil.rmtree(tmp_path / name)
            shutil.copytree(tmp_path / f"{name}-saved", tmp_path / name)

    yield made, reset


@pytest.mark.slow
@pytest.mark.parametrize("before", [False, True], ids=["after", "before"])
def test_rotation_killed_at_any_write_is_finished_by_the_next(
    site: Site, saved: Any, before: bool, exhaustive: bool
) -> None:
    made, reset = saved
    objects = len({item.key for manifest in made for item in manifest.contents()})
    # After the objects: a list for each run, and for each manifest a signature, itself, and two records.
    moments = (
        range(1, objects + 10) if exhaustive else (2, objects + 1, objects + 3, objects + 4, objects + 8)
    )
    for writes in moments:
        reset()
        assert not kill(site, writes, before=before)
        with site.open("bob") as context:
            if not before:
                assert_complete(context, made)
        site.rotate("alice", "bob")
        with site.open("bob") as context:
            assert_complete(context, made)
            assert all(
                entry.manifest.recipients == context.config.recipients
                for entry in context.catalog.entries()
                if entry.manifest
            )
            found = prune(context, dry_run=True)
            assert found.complete and not found.removed


def test_rotation_continues_with_the_objects_that_are_stored(site: Site, saved: Any) -> None:
    made, _ = saved
    objects = len({item.key for manifest in made for item in manifest.contents()})
    assert not kill(site, objects - 1, before=False)
    with site.open("bob") as context:
        stored = {item.key: item.modified for item in context.store.list() if ".r" in item.key}
        assert len(stored) == objects - 1
    site.rotate("alice", "bob")
    with site.open("bob") as context:
        named = {
            key
            for entry in context.catalog.entries()
            if entry.manifest
            for key in entry.manifest.named_keys()
        }
    assert stored.keys() <= named


def test_prune_removes_what_an_abandoned_rotation_has_stored(site: Site, saved: Any) -> None:
    made, _ = saved
    assert not kill(site, 4, before=False)
    for swept in (0, 4):
        with site.open("alice") as context:
            found = prune(context)
            assert len(found.swept) == swept and not found.unreadable
        site.clock.forward(hours=24)
    with site.open("alice") as context:
        assert_complete(context, made)


def test_signature_of_an_unknown_manifest_stops_the_rotation(site: Site, saved: Any, tmp_path: Path) -> None:
    made, _ = saved
    writes = len({item.key for manifest in made for item in manifest.contents()}) + 5
    assert not kill(site, writes, before=True)  # the signature is stored, the manifest is not
    shutil.rmtree(tmp_path / "state" / "rotations")
    plan = site.plan("alice", "bob")
    assert all("signature of another manifest" in reason for reason in plan.refused.values())
