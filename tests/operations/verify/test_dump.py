"""A dump in chunks is verified pack by pack, then as a whole."""

from __future__ import annotations

import pytest

from igny8_backup.chunks.cutter import compiled_version
from igny8_backup.formats.objects import StoredObject
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.verify.attempt import Reader
from igny8_backup.operations.verify.dump import read_database
from tests.chunks.archives import noise
from tests.operations.backup.chunked.dumping import Host

pytestmark = pytest.mark.skipif(not compiled_version(), reason="pyfastcdc is not installed")


@pytest.mark.parametrize("damaged", [True, False])
def test_dump_is_put_together_only_if_all_its_packs_are_sound(context: BackupContext, damaged: bool) -> None:
    """Damage of a pack that is not in the sample must not be recorded as damage of the index."""
    host = Host(context)
    part = host.dump(noise(600_000))
    packs = [pack.key for pack in part.packs]
    asked = []

    def attempt(item: StoredObject, reader: Reader) -> bool:
        asked.append(item.key)
        return not (damaged and item.key == packs[-1])

    assert part.dump
    read_database(context, part, [], {part.dump.key}, attempt)
    assert asked == (packs if damaged else [*packs, part.dump.key])
