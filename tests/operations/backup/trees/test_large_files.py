"""Large files in chunks: a change costs what has changed, and every backup gives back its files."""

from __future__ import annotations

import hashlib
import random
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from igny8_backup.chunks import cutter
from igny8_backup.errors import StorageError
from igny8_backup.formats.chunked import is_large_chunks, is_large_tar
from igny8_backup.formats.documents.annotations import CONTENT
from igny8_backup.formats.manifest import Manifest
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.backup.trees.large_map import OLDEST
from igny8_backup.operations.backup.trees.local_index import index_folder
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.extract.plan import ExtractRequest, plan_extract, run_extract
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.restore.planning.plan import RestoreRequest
from igny8_backup.operations.restore.planning.planner import plan_restore
from igny8_backup.operations.restore.run import RestoreSession
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify, verify_all
from igny8_backup.retention.rules import Policy
from tests.operations.clocks import Clock, by_clock
from tests.trees.tools import look

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not cutter.compiled_version(), reason="pyfastcdc is not installed"),
]

SIZE = 9 << 20
REQUEST = BackupRequest(trees=("sites",))


class Site:
    """A tree with two large files and some small ones, which is backed up once a night."""

    def __init__(self, context: BackupContext, storage: Path) -> None:
        self.clock = Clock()
        config = replace(context.config, chunked_trees=("sites",), retention=Policy(last=3))
        self.context = by_clock(replace(context, config=config), self.clock)
        self.storage = storage
        self.root = context.config.sites["sites"]
        self.log, self.data = self.root / "a" / "log", self.root / "data.db"
        self.log.write_bytes(random.Random(1).randbytes(SIZE))
        self.data.write_bytes(random.Random(2).randbytes(SIZE))

    def back_up(self, days: float = 1, **options: Any) -> Manifest:
        self.clock.forward(days=days)
        manifest = run_backup(self.context, replace(REQUEST, **options)).manifest
        assert manifest
        return manifest

    def night(self, **options: Any) -> TreePart:
        return self.back_up(**options).trees[0]

    def append(self, amount: int = 100_000) -> None:
        with self.log.open("ab") as file:
            file.write(random.Random(amount).randbytes(amount))

    def change(self, at: int = SIZE // 2) -> None:
        with self.data.open("r+b") as file:
            file.seek(at)
            file.write(b"changed" * 100)

    def extracted(self, folder: Path, backup_id: str = "", *paths: str) -> Path:
        request = ExtractRequest(only="sites", to_dir=folder, backup_id=backup_id, paths=paths)
        run_extract(self.context, plan_extract(self.context, request))
        return folder / "sites"


@pytest.fixture
def site(context: BackupContext, tmp_path: Path) -> Site:
    return Site(context, tmp_path / "storage/igny8")


def tars(part: TreePart) -> list[str]:
    return [pack.key for pack in part.packs if is_large_tar(pack.key)]


def chunks(part: TreePart) -> list[str]:
    return [pack.key for pack in part.packs if is_large_chunks(pack.key)]


def stored_since(part: TreePart, before: TreePart) -> int:
    known = {pack.key for pack in before.packs}
    return sum(pack.stored_bytes for pack in part.packs if pack.key not in known)


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file() and ".igny8_backup" not in str(path))
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def test_change_of_a_large_file_costs_what_has_changed(site: Site, tmp_path: Path) -> None:
    first = site.back_up()
    part = first.trees[0]
    assert first.schema == 5 and len(tars(part)) == 1 and len(chunks(part)) == 3
    old = contents(site.root)
    site.append()
    site.change()
    second = site.night()
    assert stored_since(second, part) < 1_000_000
    assert len(tars(second)) == 1, "no file is in the first tar any more"
    assert set(chunks(part)) < set(chunks(second))
    third = site.night()
    assert third.packs == second.packs, "unchanged files are not read"
    site.append(200_000)
    fourth = site.night()
    assert stored_since(fourth, third) < 700_000
    assert len(tars(fourth)) == 2, "the other large file is in the second tar"
    verified = verify_all(site.context, VerifyRequest(depth=CONTENT))
    assert verified.complete
    assert all(result.check.read == result.check.objects for result in verified.results)

    assert contents(site.extracted(tmp_path / "first", first.id)) == old
    only = site.extracted(tmp_path / "one", "", "a/log")
    assert contents(only) == {"a/log": site.log.read_bytes()}
    before = look(site.root)
    shutil.rmtree(site.root / "a")
    site.data.unlink()
    RestoreSession(site.context).execute(plan_restore(site.context, RestoreRequest(only="sites")))
    found = {path: facts for path, facts in look(site.root).items() if not path.startswith(b".before")}
    assert found == before


def test_pruned_backups_leave_the_packs_that_later_ones_need(site: Site, tmp_path: Path) -> None:
    site.night()
    site.append()
    site.night()
    site.change()
    last = site.night()
    config = replace(site.context.config, retention=Policy(last=1))
    site.context = replace(site.context, config=config)
    assert len(prune(site.context).removed) == 2
    folder = site.storage / "packs/web-1/sites"
    assert {path.name for path in folder.iterdir()} >= {Path(key).name for key in chunks(last)}
    assert not verify(site.context, VerifyRequest(depth=CONTENT)).failure
    assert contents(site.extracted(tmp_path / "x")) == contents(site.root)


@pytest.mark.parametrize("which", [tars, chunks])
def test_damaged_object_is_reported_and_not_referred_to_again(
    site: Site, which: Callable[[TreePart], list[str]]
) -> None:
    part = site.night()
    key = which(part)[0]
    path = site.storage / key
    path.write_bytes(bytes(path.stat().st_size))
    assert verify(site.context, VerifyRequest(depth=CONTENT)).failure == "damage"
    again = site.night()
    assert key not in {pack.key for pack in again.packs}
    assert not verify(site.context, VerifyRequest(depth=CONTENT)).failure


@pytest.mark.parametrize("harm", ["missing", "damaged", "foreign"])
def test_map_that_cannot_be_used_costs_bytes_only(site: Site, tmp_path: Path, harm: str) -> None:
    first = site.back_up()
    path = index_folder(site.context, "sites") / f"{first.id}.map"
    if harm == "missing":
        path.unlink()
    elif harm == "damaged":
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    else:
        data = path.read_bytes()[:-32].replace(b'"alias":"sites"', b'"alias":"other"')
        assert b'"other"' in data
        path.write_bytes(data + hashlib.blake2b(data, digest_size=32).digest())
    site.append()
    second = site.night()
    assert stored_since(second, first.trees[0]) > SIZE
    assert not verify(site.context, VerifyRequest(depth=CONTENT)).failure
    assert contents(site.extracted(tmp_path / "x")) == contents(site.root)


def test_full_backup_refers_to_no_earlier_pack(site: Site) -> None:
    first = site.night()
    second = site.night(full=True)
    assert not {pack.key for pack in first.packs} & {pack.key for pack in second.packs}
    site.append()
    assert stored_since(site.night(), second) < 700_000


def test_old_chunks_are_stored_again_when_their_file_changes(site: Site) -> None:
    first = site.night()
    site.clock.forward(days=OLDEST.days - 2)
    site.append()
    young = site.night()
    assert set(chunks(first)) < set(chunks(young))
    site.clock.forward(days=2)
    site.append(150_000)
    site.change()
    old = site.night()
    assert not set(chunks(first)) & set(chunks(old))
    assert not verify(site.context, VerifyRequest(depth=CONTENT)).failure


def test_tree_that_is_not_in_chunks_any_more_keeps_what_it_has(site: Site, tmp_path: Path) -> None:
    first = site.night()
    config = replace(site.context.config, chunked_trees=())
    site.context = replace(site.context, config=config)
    assert site.night().packs == first.packs
    site.append()
    third = site.back_up()
    assert third.schema == 5, "a file is still in chunks"
    site.change()
    fourth = site.back_up()
    assert not chunks(fourth.trees[0]) and fourth.schema == 2
    assert verify_all(site.context, VerifyRequest(depth=CONTENT)).complete
    assert contents(site.extracted(tmp_path / "x", third.id)).keys() == contents(site.root).keys()


def test_storage_that_fails_for_a_pack_of_chunks_fails_the_tree(site: Site) -> None:
    """The thread that stores the chunks passes its error on, and ends."""
    site.log.write_bytes(random.Random(3).randbytes(5 * SIZE))
    folder = site.storage / "packs/web-1/sites"
    folder.mkdir(parents=True)

    def occupy() -> None:
        # A folder where the second pack is to be stored.
        while not (found := list(folder.glob("*-500001.chunks.zst"))):
            assert not ended.wait(0.001)
        (folder / found[0].name.replace("500001", "500003")).mkdir()

    ended = threading.Event()
    thread = threading.Thread(target=occupy)
    thread.start()
    try:
        with pytest.raises(StorageError, match="500003"):
            run_backup(site.context, REQUEST)
    finally:
        ended.set()
        thread.join()
    assert not [item for item in threading.enumerate() if "large" in item.name]


# Without shrinking, which takes minutes here.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
EDITS = ("append", "change", "truncate", "rename", "copy", "remove", "lose map", "damage", "prune", "full")


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck), phases=PHASES)
@given(steps=st.lists(st.sampled_from(EDITS), min_size=3, max_size=7), seed=st.integers(0, 1000))
def test_every_undamaged_backup_gives_back_its_files_whatever_happened(
    site: Site, tmp_path_factory: pytest.TempPathFactory, steps: list[str], seed: int
) -> None:
    """Examples go on from the storage, the state and the tree that earlier ones left."""
    chance = random.Random(seed)
    known: dict[str, tuple[TreePart, dict[str, bytes]]] = {}
    for step in ("append", *steps):
        edit(site, step, chance)
        manifest = site.back_up(full=step == "full")
        known[manifest.id] = manifest.trees[0], contents(site.root)
        if step == "damage":
            keys = chunks(manifest.trees[0])
            lost = site.storage / chance.choice(keys) if keys else None
            if lost:
                lost.write_bytes(bytes(lost.stat().st_size))
                assert verify(site.context, VerifyRequest(depth=CONTENT)).failure == "damage"
                named = f"packs/web-1/sites/{lost.name}"
                known = {
                    backup_id: (part, files)
                    for backup_id, (part, files) in known.items()
                    if named not in {pack.key for pack in part.packs}
                }
        if step == "prune":
            removed = prune(site.context).removed
            known = {backup_id: found for backup_id, found in known.items() if backup_id not in removed}
    folder = tmp_path_factory.mktemp("found")
    for backup_id, (_, files) in known.items():
        assert contents(site.extracted(folder / backup_id, backup_id)) == files
    shutil.rmtree(folder)


def edit(site: Site, step: str, chance: random.Random) -> None:
    site.log.parent.mkdir(exist_ok=True)
    files = sorted(path for path in site.root.rglob("*") if path.is_file())
    large = [path for path in files if path.stat().st_size > SIZE // 2]
    chosen = chance.choice(large) if large else site.log
    if step == "append" or not large:
        with chosen.open("ab") as file:
            file.write(chance.randbytes(chance.randrange(1, 300_000) if large else SIZE))
    elif step == "change":
        with chosen.open("r+b") as file:
            file.seek(chance.randrange(chosen.stat().st_size))
            file.write(chance.randbytes(1000))
    elif step == "truncate":
        with chosen.open("r+b") as file:
            file.truncate(chance.randrange(chosen.stat().st_size))
    elif step == "rename":
        chosen.rename(chosen.with_name(f"renamed-{chance.randrange(10)}"))
    elif step == "copy":
        chosen.with_name(f"copy-{chance.randrange(10)}").write_bytes(chosen.read_bytes())
    elif step == "remove":
        chosen.unlink()
    elif step == "lose map":
        for path in index_folder(site.context, "sites").glob("*.map"):
            path.unlink()
