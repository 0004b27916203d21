"""Other recipients for backups whose large files are in chunks."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from igny8_backup.chunks import cutter
from igny8_backup.formats.chunked import is_large_chunks, is_large_tar
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify
from tests.operations.rotate.conftest import Site

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not cutter.compiled_version(), reason="pyfastcdc is not installed"),
]

SIZE = 9 << 20


def test_rotated_large_files_are_read_and_the_lists_of_other_trees_stay_apart(
    site: Site, trees: tuple[Path, Path], tmp_path: Path
) -> None:
    site.settings.IGNY8_BACKUP = {**site.settings.IGNY8_BACKUP, "CHUNKED_TREES": ["sites"]}
    large = trees[0] / "large"
    large.write_bytes(random.Random(1).randbytes(SIZE))
    first = large.read_bytes()
    made = [site.back_up("alice")]
    with large.open("ab") as file:
        file.write(b"more" * 1000)
    made.append(site.back_up("alice"))
    assert not made[1].trees[0].full
    assert set(site.rotate("alice", "bob").rotated) == {one.id for one in made}
    site.extract("bob", made[0].id, tmp_path / "first")
    site.extract("bob", made[1].id, tmp_path / "second")
    assert (tmp_path / "first/sites/large").read_bytes() == first
    assert (tmp_path / "second/sites/large").read_bytes() == large.read_bytes()
    with site.open("bob") as context:
        for one in made:
            sites, uploads = context.catalog.get(one.id).trees
            assert {is_large_tar(pack.key) or is_large_chunks(pack.key) for pack in sites.packs} == {
                True,
                False,
            }
            # Releases that do not know chunks refuse a list that names them.
            for reference in {pack.named_in for pack in uploads.packs}:
                assert reference
                listed = context.lists.listed(context.store, reference)
                assert {item.key for item in listed} == {pack.key for pack in uploads.packs}
            request = VerifyRequest(backup_id=one.id, depth="content", identity_file=site.people["bob"].file)
            assert not verify(context, request).failure
    assert site.back_up("bob").trees[0].full, "chunks of the former recipients are not referred to"
