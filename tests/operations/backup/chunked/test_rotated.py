"""Dumps in chunks whose recipients were rotated: the index finds the packs under their new keys."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from igny8_backup.chunks.cutter import compiled_version
from igny8_backup.conf.model import Encryption
from igny8_backup.formats.chunked import FULL, INCREMENTAL
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.rotate.plan import plan_rotation
from igny8_backup.operations.rotate.run import rotate
from igny8_backup.streams.age import generate_identity, load_identities
from tests.chunks.archives import noise
from tests.operations.backup.chunked.dumping import Host

pytestmark = pytest.mark.skipif(not compiled_version(), reason="pyfastcdc is not installed")

ARCHIVE = noise(300_000)
CHANGED = ARCHIVE[:150_000] + b"one row more" + ARCHIVE[150_000:]


def identity(path: Path) -> str:
    """Write a new age identity to ``path``; return its recipient."""
    text, recipient = generate_identity()
    path.touch(mode=0o600)
    path.write_text(text)
    return recipient


def encrypted_to(context: BackupContext, recipient: str) -> BackupContext:
    codec = replace(context.codec, recipients=(recipient,))
    config = replace(context.config, encryption=Encryption(recipients=(recipient,)))
    return replace(context, codec=codec, config=config)


def test_rotated_dumps_in_chunks_are_read_with_the_new_identity(
    context: BackupContext, tmp_path: Path
) -> None:
    old, new = tmp_path / "old.identity", tmp_path / "new.identity"
    machine = Host(encrypted_to(context, identity(old)))
    machine.dump(ARCHIVE)
    second = machine.dump(CHANGED)
    assert second.chunked and second.chunked.kind == INCREMENTAL
    machine.context = encrypted_to(machine.context, identity(new))
    alone = replace(machine.context, config=replace(machine.context.config, databases=()))
    plan, _ = plan_rotation(alone, old)
    assert [set(group.ids) for group in plan.groups] == [set(machine.made)]
    assert set(rotate(alone, plan, old).rotated) == set(machine.made)
    identities = load_identities(new)
    for backup_id, archive in machine.made.items():
        part = machine.part(backup_id)
        assert all(".r" in pack.key for pack in part.packs)
        assert machine.read(backup_id, identities) == archive
    third = machine.dump(CHANGED)
    assert third.chunked and third.chunked.kind == FULL, "the map knows the old packs only"
    assert machine.read(list(machine.made)[-1], identities) == CHANGED
