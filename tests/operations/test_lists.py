"""Lists of packs: what a manifest names, and what follows where a list is missing or damaged."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.stored_goals import PACKS, manifest_sizes
from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys, records
from igny8_backup.formats.chunked import chunk_pack_key
from igny8_backup.formats.lists import list_key
from igny8_backup.formats.manifest import COMPLETE, Manifest
from igny8_backup.formats.objects import StoredObject
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.operations.backup import lists
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext, open_context
from igny8_backup.operations.extract.plan import ExtractRequest, plan_extract, run_extract
from igny8_backup.operations.history.read import read_history
from igny8_backup.operations.keys.keygen import make_signing_key
from igny8_backup.operations.maintain.orphans import find_orphans
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify
from tests.operations.nights import let_time_pass

pytestmark = pytest.mark.slow

TOKENS = itertools.count()


def backed_up(context: BackupContext, *trees: str) -> Manifest:
    for tree in ("sites", "uploads"):
        let_time_pass(context, tree)
    # The ids of backups that were made within one second are in the order of the backups, too.
    context = replace(context, token=lambda: f"{next(TOKENS):06x}")
    made = run_backup(context, BackupRequest(trees=trees or ("sites", "uploads")))
    assert made.complete
    return context.catalog.get(made.id)


def tree_of(manifest: Manifest, name: str) -> TreePart:
    return next(tree for tree in manifest.trees if tree.name == name)


def stored_file(context: BackupContext, key: str) -> Path:
    return Path(context.store.describe().removeprefix("the folder ")) / key


def test_later_backup_names_the_lists_of_the_runs_that_wrote_its_packs(
    context: BackupContext, trees: tuple[Path, Path]
) -> None:
    first = backed_up(context)
    (trees[0] / "new").write_text("new")
    second = backed_up(context)
    own = [list_key("web-1", made.id, 1) for made in (first, second)]
    assert [item.key for item in tree_of(second, "sites").pack_lists] == own
    assert [item.key for item in tree_of(second, "uploads").pack_lists] == own[:1]
    assert {item.key for item in second.lists()} == set(own)
    assert tree_of(second, "sites").packs[:1] == tree_of(first, "sites").packs
    stored = json.loads(stored_file(context, keys.manifest_key(second.id)).read_bytes())
    assert [tree["packs"] for tree in stored["trees"]] == [[], []]
    assert find_orphans(context).orphans == ()


def test_run_that_stores_no_packs_writes_no_list(context: BackupContext) -> None:
    backed_up(context)
    before = {item.key for item in context.store.list("packs")}
    backed_up(context)
    assert {item.key for item in context.store.list("packs")} == before


def test_manifest_stays_small_with_a_thousand_packs(context: BackupContext) -> None:
    """Four trees of 250 packs each, which 200 runs wrote."""
    runs = [keys.make_id(context.clock(), f"{number:06x}") for number in range(200)]
    manifest = backed_up(context)

    def pack(tree: str, run: str, number: int) -> StoredObject:
        key = keys.pack_key("web-1", tree, keys.pack_name(run, number), ".zst.age")
        size = 512 << 20
        return StoredObject(
            key=key,
            stored_bytes=size,
            raw_bytes=size,
            sha256="0" * 64,
            codecs=("zstd", "age"),
            blocks=bytes(4096),
        )

    trees = []
    for name in "abcd":
        packs = [pack(name, run, number) for run in runs for number in (1, 5)[: 1 + (run in runs[:50])]]
        trees.append(replace(manifest.trees[0], name=name, state=COMPLETE, packs=tuple(packs)))
    made = lists.store_lists(context, replace(manifest, id=runs[-1], trees=tuple(trees)))
    assert len(records.to_json(made.as_stored())) < 64 << 10
    assert [len(tree.packs) for tree in made.trees] == [250] * 4
    resolved = context.lists.with_packs(context.store, made.as_stored())
    assert [tree.packs for tree in resolved.trees] == [tree.packs for tree in made.trees]


def test_packs_of_trees_and_of_dumps_in_chunks_are_in_different_lists(context: BackupContext) -> None:
    """Releases that know no dumps in chunks refuse a list that describes one, and must read the trees."""
    manifest = backed_up(context, "sites")
    run = keys.make_id(context.clock(), "abcdef")
    chunks = StoredObject(
        key=chunk_pack_key("web-1", "default", keys.pack_name(run, 1), ".zst.age"),
        stored_bytes=1,
        raw_bytes=1,
        sha256="0" * 64,
        codecs=("zstd", "age"),
    )
    files = replace(chunks, key=keys.pack_key("web-1", "sites", keys.pack_name(run, 1), ".zst.age"))
    now = context.clock()
    dump = DatabasePart(
        alias="default", engine="postgresql", state=COMPLETE, started=now, finished=now, packs=(chunks,)
    )
    trees = (replace(manifest.trees[0], packs=(files,)),)
    made = lists.store_lists(context, replace(manifest, id=run, databases=(dump,), trees=trees))
    assert [[found.key for found in part.pack_lists] for part in made.parts] == [
        [list_key("web-1", run, 2)],
        [list_key("web-1", run, 1)],
    ]


def test_too_many_lists_are_replaced_by_one(
    context: BackupContext, trees: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "LISTS_LIMIT", 2)
    counts = []
    for number in range(4):
        (trees[0] / f"new {number}").write_bytes(bytes([number]) * 100_000)
        last = backed_up(context, "sites")
        counts.append(len(tree_of(last, "sites").pack_lists))
    assert counts == [1, 2, 1, 2]
    assert len(tree_of(last, "sites").packs) == 4
    assert verify(context, VerifyRequest(depth="content")).findings == ()


def test_large_lists_are_split(context: BackupContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("igny8_backup.formats.lists.WRITTEN_SIZE", 10)
    made = backed_up(context)
    expected = [list_key("web-1", made.id, number) for number in (1, 2)]
    assert [item.key for item in made.lists()] == expected
    assert verify(context, VerifyRequest(depth="content")).findings == ()


def remove(path: Path) -> None:
    path.unlink()


def alter(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"zstd", b"zstD"))


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def fill(path: Path) -> None:
    path.write_bytes(b"[" * (65 << 20))


@pytest.mark.parametrize("harm", [remove, alter, shorten, fill])
def test_lost_list_is_damage_of_the_backups_that_need_it(
    context: BackupContext, trees: tuple[Path, Path], tmp_path: Path, harm: Any
) -> None:
    first = backed_up(context)
    (trees[0] / "new").write_text("new")
    second = backed_up(context)
    key = list_key("web-1", second.id, 1)
    harm(stored_file(context, key))
    with open_context() as fresh:
        found = read_history(fresh)
        damaged = {
            copy.backup_id: {one.key for one in copy.damage} for copy in found.standings.copies if copy.damage
        }
        assert damaged == {second.id: {key}}
        assert [entry.problem for entry in found.entries] == ["", ""], "the manifests themselves can be read"
        assert find_orphans(fresh).orphans == (), "what the list named stays protected"
        with pytest.raises(
            IntegrityError, match=f"packs of the tree 'sites' are not known: .*{key}"
        ) as caught:
            plan_extract(fresh, ExtractRequest(backup_id=second.id, to_dir=tmp_path / "new"))
        assert caught.value.parts[1] == "Nothing live was changed."
        result = verify(fresh, VerifyRequest(backup_id=second.id))
        assert [finding.damage.key for finding in result.findings] == [key]
        plan = plan_extract(fresh, ExtractRequest(backup_id=first.id, to_dir=tmp_path / "old"))
        run_extract(fresh, plan)
        again = backed_up(fresh, "sites")
        assert key not in again.named_keys(), "the next run stores anew what the list named"
        assert verify(fresh, VerifyRequest(backup_id=again.id, depth="content")).findings == ()


def test_forged_parent_is_not_signed_by_the_next_backup(
    context: BackupContext, trees: tuple[Path, Path]
) -> None:
    """Somebody writes a manifest of theirs over the last one, with a list of theirs of their own packs."""
    first = backed_up(context, "sites")
    path = stored_file(context, keys.manifest_key(first.id))
    forged = json.loads(path.read_bytes())
    named = forged["trees"][0]["pack_lists"][0]
    listed = stored_file(context, named["key"])
    listed.write_bytes(listed.read_bytes() + b" ")
    named["stored_bytes"] += 1
    named["sha256"] = hashlib.sha256(listed.read_bytes()).hexdigest()
    path.write_text(json.dumps(forged))
    with open_context() as fresh:
        assert not tree_of(fresh.catalog.get(first.id), "sites").packs_problem
        second = backed_up(fresh, "sites")
        assert tree_of(second, "sites").full
        assert not {item.key for item in second.objects()} & {item.key for item in first.objects()}


def test_lists_and_signature_are_stored_before_the_manifest(
    context: BackupContext, monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path
) -> None:
    make_signing_key(tmp_path / "web.key")
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "SIGNING": {"KEY_FILE": tmp_path / "web.key"}}
    written: list[str] = []
    for name in ("_put", "_put_small"):
        original = getattr(type(context.store), name)

        def record(store: Any, key: str, *rest: Any, original: Any = original) -> Any:
            written.append(key.removeprefix("igny8/"))
            return original(store, key, *rest)

        monkeypatch.setattr(type(context.store), name, record)
    with open_context() as fresh:
        made = run_backup(fresh, BackupRequest(trees=("sites",))).id
    kinds = [parsed.kind for key in written if (parsed := keys.parse(key)) and made in key]
    after = kinds[kinds.index("details") :]
    assert [kind for kind in after if kind != "run"] == ["details", "list", "signature", "manifest"]


def test_manifest_with_a_thousand_packs_names_a_list_of_them(context: BackupContext, tmp_path: Path) -> None:
    (tmp_path / "storage").mkdir()
    sizes = manifest_sizes(context)
    assert sizes["packs in lists"] < 3000, "the manifest stays small"
    assert sizes["packs in the manifest"] > 200 * PACKS
    assert sizes["the lists"] > 200 * PACKS
