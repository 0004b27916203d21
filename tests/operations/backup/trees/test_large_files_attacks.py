"""Large files in chunks on bad days: storages that are slow, hostile or half forgotten."""

from __future__ import annotations

import json
import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from igny8_backup.chunks import cutter
from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys
from igny8_backup.formats.documents.annotations import CONTENT
from igny8_backup.formats.manifest_reader import read_manifest
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.backup.trees.large_files import LargeFiles
from igny8_backup.operations.backup.trees.local_index import index_folder
from igny8_backup.operations.backup.trees.parent_index import find_parent_backup
from igny8_backup.operations.context import open_context
from igny8_backup.operations.read.tree_packs import TreePacks
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify
from igny8_backup.streams.pipeline import from_bytes
from tests.operations.backup.trees.test_large_files import Site, chunks, contents, site, tars
from tests.operations.conftest import Notes
from tests.operations.storages import Blocked, Interrupts

__all__ = ["site"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not cutter.compiled_version(), reason="pyfastcdc is not installed"),
]

LARGE = 8 << 20


def use_storage(settings: Any, tmp_path: Path, backend: str) -> None:
    options = {"location": str(tmp_path / "storage")}
    settings.STORAGES = {**settings.STORAGES, "dbbackup": {"BACKEND": backend, "OPTIONS": options}}


def test_two_threads_never_use_one_connection(site: Site, settings: Any, tmp_path: Path) -> None:
    """Packs and chunks are stored at the same time, and few clients of a storage allow that."""
    use_storage(settings, tmp_path, "tests.operations.storages.OneThreadOnly")
    for number in range(6):  # one pack, which is being stored when the large file comes
        (site.root / "b" / str(number)).write_bytes(os.urandom(LARGE - 1))
    (site.root / "b" / "large").write_bytes(os.urandom(5 * LARGE))
    (site.root / "c" / "last").write_bytes(os.urandom(LARGE - 1))
    with open_context(progress=Notes()) as found:
        site.context = replace(found, config=site.context.config, clock=site.context.clock)
        site.back_up()
        assert contents(site.extracted(tmp_path / "out")) == contents(site.root)


class Waiting(Notes):
    """A progress that releases the storage once a note says what the run is waiting for."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = Event()

    def note(self, text: str) -> None:
        super().note(text)
        if "waiting for the storage" in text:
            self.seen.set()


def test_stall_while_chunks_are_stored_is_blamed_on_the_storage(
    site: Site, settings: Any, tmp_path: Path
) -> None:
    use_storage(settings, tmp_path, "tests.operations.storages.Blocked")
    progress = Waiting()
    Blocked.until = progress.seen
    site.log.write_bytes(os.urandom(5 * LARGE))
    with open_context(progress=progress) as found:
        config = replace(site.context.config, stall_seconds=1)
        result = run_backup(replace(found, config=config), BackupRequest(trees=("sites",)))
    assert result.whole and progress.seen.is_set(), progress.texts


def test_verification_of_a_tar_reads_only_the_packs_of_that_tar(site: Site) -> None:
    """Damage of one tar does not hide what is known of the others."""
    first = site.night()
    site.change()
    manifest = site.back_up()
    part = manifest.trees[0]
    (key,) = set(chunks(part)) - set(chunks(first))
    path = site.storage / key
    path.write_bytes(bytes(path.stat().st_size))
    (old,) = tars(first)
    result = verify(site.context, VerifyRequest(depth=CONTENT))
    assert [finding.damage.key for finding in result.findings] == [key]
    assert (
        result.check.sound
        and old in result.check.sound
        and not set(tars(part)) - {old} & {*result.check.sound}
    )


def test_manifest_with_two_packs_of_one_name_is_refused(site: Site) -> None:
    manifest = site.back_up()
    path = site.storage / "backups" / manifest.id / "manifest.json"
    data = path.read_bytes()
    assert read_manifest(data, manifest.id).trees
    # The tar of large files, and an ordinary pack of the same name.
    forged = data.replace(b'": "1"', b'": "1,400001"')
    assert forged != data
    with pytest.raises(IntegrityError, match="names a pack of .* twice"):
        read_manifest(forged, manifest.id)


def test_manifest_that_hides_a_pack_of_chunks_is_no_parent(site: Site) -> None:
    """Else the next backup would refer to a pack that its own manifest does not name."""
    manifest = site.back_up()
    path = site.storage / "backups" / manifest.id / "manifest.json"
    data = path.read_bytes()
    assert b'"500001-500003"' in data
    path.write_bytes(data.replace(b'"500001-500003"', b'"500001-500002"'))
    parent, reason = find_parent_backup(site.context, "sites")
    assert parent is None and "is not the one that this host wrote" in reason


def test_map_that_a_killed_run_left_half_written_is_removed(site: Site) -> None:
    manifest = site.back_up()
    folder = index_folder(site.context, "sites")
    left = folder / f"{manifest.id}.map.0a1b2c3d.partial"
    left.touch()
    site.back_up()
    assert not left.exists() and (folder / f"{manifest.id}.map").exists()


def test_interrupt_while_the_end_of_a_tar_is_stored_stops_the_thread(
    site: Site, settings: Any, tmp_path: Path
) -> None:
    use_storage(settings, tmp_path, "tests.operations.storages.Interrupts")
    manifest = site.back_up()
    with open_context(progress=Notes()) as found:
        large = LargeFiles(found, "sites", manifest.id.replace("20", "21", 1), None)
        Interrupts.stopped, Interrupts.names = large._stopped, []
        with pytest.raises(KeyboardInterrupt), large:
            for _ in range(15):  # one window, so that nothing is stored before the end
                large.add(os.urandom(1 << 20))
            large.end_tar()
    assert len(Interrupts.names) == 1, "the second pack is not stored any more"


def test_index_of_another_tar_is_the_damaged_object(site: Site) -> None:
    """The chunks are sound, and the index of the tree as well."""
    part = site.back_up().trees[0]
    name = keys.pack_of(tars(part)[0])
    (index,) = (pack for pack in part.packs if keys.pack_of(pack.key) == name)
    data = b"".join(site.context.download(index, []))
    header = json.loads(data.partition(b"\n")[0])
    forged = data.replace(header["sha256"].encode(), b"0" * 64)
    site.context.store.delete(index.key)
    stored = site.context.upload(index.key).send(from_bytes(forged))
    packs = TreePacks(site.context, "sites", [*part.packs, stored], [])
    with pytest.raises(IntegrityError) as caught:
        list(packs.open(name))
    assert caught.value.object_key == index.key


def test_tars_of_large_files_are_put_together_one_at_a_time(site: Site) -> None:
    """Each takes 40 MiB of memory, and a restore has several threads."""
    part = site.back_up().trees[0]
    (name,) = {keys.pack_of(key) for key in tars(part)}
    packs = TreePacks(site.context, "sites", part.packs, [])
    begun = Event()

    def read() -> None:
        with closing(packs.open(name)) as blocks:
            next(blocks)
            begun.set()

    first = packs.open(name)
    next(first)
    other = Thread(target=read)
    other.start()
    assert not begun.wait(0.5)
    first.close()
    other.join()
    assert begun.is_set()
