"""Objects are checked block by block before they are decoded, and read once if their blocks are known."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.errors import IntegrityError
from igny8_backup.formats.lists import BLOCK_BYTES
from igny8_backup.formats.manifest import Manifest
from igny8_backup.formats.objects import StoredObject
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext, open_context
from igny8_backup.operations.extract.plan import ExtractRequest, plan_extract, run_extract
from igny8_backup.operations.keys.keygen import make_signing_key
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify
from igny8_backup.streams import Blocks

pytestmark = pytest.mark.slow

SIZE = 2 * BLOCK_BYTES + 1000


@pytest.fixture
def signing(context: BackupContext, settings: Any, tmp_path: Path) -> Iterator[BackupContext]:
    """A context that signs its backups and reads no others, with a tree of more than two blocks."""
    (tmp_path / "sites" / "large").write_bytes(os.urandom(SIZE))
    line = make_signing_key(tmp_path / "web.key")
    settings.IGNY8_BACKUP = {
        **settings.IGNY8_BACKUP,
        "SIGNING": {"KEY_FILE": tmp_path / "web.key"},
        "TRUSTED": [f"{line} web"],
    }
    with open_context() as found:
        yield found


def backed_up(context: BackupContext) -> tuple[Manifest, StoredObject]:
    """Make a backup; return its manifest as it is read from storage, and its large pack."""
    made = run_backup(context, BackupRequest(trees=("sites", "uploads"))).id
    manifest = context.catalog.get(made)
    (pack,) = (item for item in manifest.objects() if item.stored_bytes > 2 * BLOCK_BYTES)
    return manifest, pack


def counting(context: BackupContext, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the bytes that are read of each object."""
    read: Counter[str] = Counter()
    opened = type(context.store).open

    def count(store: Any, key: str) -> Blocks:
        for block in opened(store, key):
            read[key] += len(block)
            yield block

    monkeypatch.setattr(type(context.store), "open", count)
    return read


def test_signed_backup_is_read_once(
    signing: BackupContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    manifest, _ = backed_up(signing)
    plan = plan_extract(signing, ExtractRequest(to_dir=tmp_path / "new"))
    read = counting(signing, monkeypatch)
    run_extract(signing, plan)
    assert (tmp_path / "new/sites/large").read_bytes() == (tmp_path / "sites/large").read_bytes()
    for tree in manifest.trees:
        for item in (tree.stored_index, *tree.stored_packs):
            assert read[item.key] == item.stored_bytes, item.key


def test_content_verification_reads_a_signed_backup_once(
    signing: BackupContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, _ = backed_up(signing)
    read = counting(signing, monkeypatch)
    assert verify(signing, VerifyRequest(depth="content")).findings == ()
    contents = {item.key: item.stored_bytes for item in manifest.contents()}
    assert {key: read[key] for key in contents} == contents


def test_altered_block_never_reaches_the_decoder(
    signing: BackupContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, pack = backed_up(signing)
    path = tmp_path / "storage/igny8" / pack.key
    content = bytearray(path.read_bytes())
    content[BLOCK_BYTES + 5] ^= 1
    path.write_bytes(content)
    reached = bytearray()

    def decode(blocks: Blocks, *rest: Any) -> Blocks:
        for block in blocks:
            reached.extend(block)
            yield block

    monkeypatch.setattr("igny8_backup.operations.transfer.download.decode", decode)
    with pytest.raises(IntegrityError, match=f"{pack.key} was altered") as caught:
        list(signing.download(pack, []))
    assert caught.value.object_key == pack.key
    assert reached == content[:BLOCK_BYTES]


def test_object_without_blocks_swapped_between_two_passes_is_refused(
    signing: BackupContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The digests of the blocks of objects of earlier releases are not stored, so they are read twice."""
    _, pack = backed_up(signing)
    old = replace(pack, blocks_in=None)
    path = tmp_path / "storage/igny8" / pack.key
    content = path.read_bytes()
    other = content[:BLOCK_BYTES] + bytes(len(content) - BLOCK_BYTES)
    reads = iter([content, content, content, other])
    opened = type(signing.store).open

    def swapped(store: Any, key: str) -> Blocks:
        path.write_bytes(next(reads))
        return opened(store, key)

    monkeypatch.setattr(type(signing.store), "open", swapped)
    assert list(signing.download(old, []))
    with pytest.raises(IntegrityError, match="altered while it was read"):
        list(signing.download(old, []))


def test_object_whose_list_of_blocks_is_lost_is_read_twice(
    signing: BackupContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, pack = backed_up(signing)
    assert pack.blocks_in is not None
    whole = b"".join(signing.download(pack, []))
    (tmp_path / "storage/igny8" / pack.blocks_in.key).write_bytes(b"[]")
    with open_context() as fresh:
        read = counting(fresh, monkeypatch)
        assert b"".join(fresh.download(pack, [])) == whole
        assert read[pack.key] == 2 * pack.stored_bytes


def test_plan_says_which_objects_are_read_twice(
    signing: BackupContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    manifest, pack = backed_up(signing)
    request = ExtractRequest(backup_id=manifest.id, to_dir=tmp_path / "new")
    assert not any("twice" in note for note in plan_extract(signing, request).notes)
    (tree,) = (tree for tree in manifest.trees if pack in tree.packs)
    blockless = tuple(replace(item, blocks_in=None) for item in tree.packs)
    trees = tuple(replace(item, packs=blockless) if item == tree else item for item in manifest.trees)
    monkeypatch.setattr(
        "igny8_backup.catalog.lists.Lists.with_packs", lambda self, store, found: replace(found, trees=trees)
    )
    (note,) = (note for note in plan_extract(signing, request).notes if "twice" in note)
    assert note.startswith("1 object (8.4 MB) of a backup of an earlier release will be read twice")
