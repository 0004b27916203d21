"""The index that each host keeps in STATE_DIR, and which packs a backup rewrites."""

from __future__ import annotations

import json
from typing import Any

import pytest

from igny8_backup.formats.objects import StoredObject
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.backup.trees.local_index import SCHEMA, LargeTar, LocalIndex, index_folder
from igny8_backup.operations.backup.trees.parent_index import (
    MAX_PACKS,
    REWRITE_LIMIT,
    find_parent_backup,
    packs_to_rewrite,
)
from igny8_backup.operations.context import BackupContext
from igny8_backup.signing.trust import UNSIGNED
from tests.operations.signed import backed_up, folder

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("schema", [1, 2])
def test_find_parent_backup_reads_earlier_schemas(context: BackupContext, schema: int) -> None:
    made = run_backup(context, BackupRequest(trees=("sites",)))
    path = index_folder(context, "sites") / f"{made.id}.json"
    stored = json.loads(path.read_bytes())
    assert stored["schema"] == 3 and stored["live_bytes"] and not stored.pop("large")
    stored["schema"] = schema
    if schema == 1:
        stored["living"] = stored.pop("live_bytes")
    path.write_text(json.dumps(stored))

    parent, why = find_parent_backup(context, "sites")

    assert why == "" and parent is not None and parent.backup_id == made.id
    assert parent.packs_to_rewrite == frozenset()
    (tree,) = run_backup(context, BackupRequest(trees=("sites",))).manifest.trees  # type: ignore[union-attr]  # it was written before
    assert not tree.full


def test_backup_names_no_pack_of_a_manifest_that_somebody_has_replaced(host: Any) -> None:
    """Otherwise the key of this host would sign the digests of packs that somebody else has put there."""
    with host(signs="web", trusts=["web"]) as context:
        first = backed_up(context)
        path = folder(context, first) / "manifest.json"
        manifest = json.loads(path.read_text())
        for tree in manifest["trees"]:
            for named in tree["pack_lists"]:
                named["sha256"] = "0" * 64
        path.write_text(json.dumps(manifest))
        parent, why = find_parent_backup(context, "sites")
        assert parent is None and why == f"the backup {first.id} is not trusted: {UNSIGNED.problem}"
        second = backed_up(context)
        assert all(tree.full for tree in second.trees)
        assert "0" * 64 not in (folder(context, second) / "manifest.json").read_text()


def test_packs_to_rewrite_mostly_dead_packs_are_chosen() -> None:
    def part(*sizes: int) -> TreePart:
        stored = tuple(
            StoredObject(
                key=f"packs/h/t/20261122T021500Z-7f3a9c-{n:04}.tar.zst",
                stored_bytes=1,
                raw_bytes=size,
                sha256="0" * 64,
                codecs=("zstd",),
            )
            for n, size in enumerate(sizes)
        )
        return TreePart(name="t", role="sites", state="complete", started=None, finished=None, packs=stored)  # type: ignore[arg-type]  # not read

    def names(*numbers: int) -> set[str]:
        return {f"20261122T021500Z-7f3a9c-{n:04}" for n in numbers}

    def live(*sizes: int, large: dict[str, LargeTar] | None = None) -> LocalIndex:
        live_bytes = dict(zip(sorted(names(*range(len(sizes)))), sizes, strict=True))
        return LocalIndex(SCHEMA, "20261122T021500Z-7f3a9c", (), live_bytes, "", large=large or {})

    assert packs_to_rewrite(part(100, 100, 100), live(100, 49, 50)) == names(1)
    # The deadest first, as much as fits.
    large = REWRITE_LIMIT * 3
    assert packs_to_rewrite(part(large, large), live(REWRITE_LIMIT, REWRITE_LIMIT - 1)) == names(1)
    # Of too many the smallest.
    many = [1000] * MAX_PACKS
    assert packs_to_rewrite(part(*many, 10, 20), live(*many, 10, 20)) == names(MAX_PACKS, MAX_PACKS + 1)
    assert packs_to_rewrite(part(*many), live(*many)) == set()


def test_packs_to_rewrite_large_tars_count_by_their_own_size() -> None:
    """The object of a tar of large files is only its index; packs of chunks hold nothing by themselves."""
    tar, chunks = (f"20261122T021500Z-7f3a9c-{number}" for number in (400_001, 500_001))
    stored = tuple(
        StoredObject(
            key=f"packs/h/t/{name}.{suffix}.zst",
            stored_bytes=1,
            raw_bytes=size,
            sha256="0" * 64,
            codecs=("zstd",),
        )
        for name, suffix, size in ((tar, "runs", 10), (chunks, "chunks", 8000))
    )
    part = TreePart(name="t", role="sites", state="complete", started=None, finished=None, packs=stored)  # type: ignore[arg-type]  # not read

    def local(live: int) -> LocalIndex:
        large = {tar: LargeTar(bytes=10_000, packs=(chunks,))}
        return LocalIndex(SCHEMA, "20261122T021500Z-7f3a9c", (), {tar: live}, "", large=large)

    assert packs_to_rewrite(part, local(5000)) == set()
    assert packs_to_rewrite(part, local(4999)) == {tar}
