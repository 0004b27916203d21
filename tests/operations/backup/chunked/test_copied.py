"""A copy of a backup that leaves out a database in chunks names none of its packs, and keeps its manifest."""

from __future__ import annotations

import pytest

from igny8_backup.chunks.cutter import compiled_version
from igny8_backup.formats.documents.copy_document import holding
from igny8_backup.formats.manifest import NOT_COPIED
from igny8_backup.operations.context import BackupContext
from tests.chunks.archives import noise
from tests.operations.backup.chunked.dumping import Host

pytestmark = pytest.mark.skipif(not compiled_version(), reason="pyfastcdc is not installed")


def test_copy_without_the_database_has_none_of_its_objects(context: BackupContext) -> None:
    machine = Host(context)
    machine.dump(noise(100_000))
    manifest = machine.context.catalog.get(list(machine.made)[0])
    copied = holding(manifest, [])
    (part,) = copied.databases
    assert part.state == NOT_COPIED and part.objects() == part.lists() == ()
    assert [item.key for item in copied.objects()] == [manifest.details.key]
    assert copied.as_stored() == manifest.as_stored()
    assert copied.named_keys() == manifest.named_keys()
