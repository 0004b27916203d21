"""Any sequence of edits, runs, prunes, losses and kills: no dump in chunks gives back a wrong archive."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.chunks import writer
from igny8_backup.chunks.cutter import compiled_version
from igny8_backup.errors import IntegrityError
from igny8_backup.operations.context import BackupContext
from igny8_backup.streams import Blocks
from tests.operations.backup.chunked.dumping import Host, Killed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not compiled_version(), reason="pyfastcdc is not installed"),
]


class Life:
    """Two servers with one ``HOST`` and one storage.

    The rows of their table change at random, and so do the archives in which the rows are.
    """

    def __init__(self, context: BackupContext, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.host = Host(context)
        self.state_dirs = [self.host.context.config.state_dir, folder / "other state"]
        self.saved = folder / "saved"
        self.replaced: set[str] = set()
        self.noticed: set[str] = set()
        self.rows = [self.chance.randbytes(self.chance.randrange(1, 20_000)) for _ in range(12)]

    def _dump(self, kind: str = "", **options: Any) -> None:
        """Dump all rows, in one, two or three archives."""
        ends = sorted(self.chance.randrange(len(self.rows)) for _ in range(self.chance.randrange(3)))
        main, *data = (
            b"".join(self.rows[start:end])
            for start, end in zip([0, *ends], [*ends, len(self.rows)], strict=True)
        )
        if options.pop("killed", False):
            end = self.chance.randrange(len(main) + 1)

            def blocks() -> Blocks:
                yield main[:end]
                raise Killed

            options["blocks"] = blocks
        self.host.dump(main, kind, data=data, **options)

    def insert(self) -> None:
        self.rows.insert(self.chance.randrange(len(self.rows)), self.chance.randbytes(9000))

    def delete(self) -> None:
        if len(self.rows) > 5:
            self.rows.pop(self.chance.randrange(len(self.rows)))

    def rewrite(self) -> None:
        """As ``CLUSTER`` does."""
        self.chance.shuffle(self.rows)

    def dump(self) -> None:
        self._dump()

    def dump_full(self) -> None:
        self._dump("full")

    def dump_differential(self) -> None:
        self._dump("differential")

    def dump_suspect(self) -> None:
        self._dump(suspect=True)

    def kill_while_dumping(self) -> None:
        with pytest.raises(Killed):
            self._dump(killed=True)

    def kill_before_manifest(self) -> None:
        with pytest.raises(Killed):
            self._dump(before_check=_kill)

    def kill_before_map(self) -> None:
        with pytest.raises(Killed):
            self._dump(before_map=_kill)

    def next_day(self) -> None:
        self.host.clock.forward(days=1)

    def prune(self) -> None:
        if len(found := self.host.complete()) > 1:
            self.host.remove(found[-1])

    def sweep(self) -> None:
        self.host.sweep()

    def lose_pack(self) -> None:
        self._harm(self.host.context.store.delete)

    def shorten_pack(self) -> None:
        self._harm(lambda key: self.host.context.store.put_small(key, b"short"))

    def replace_pack(self) -> None:
        """Put other bytes of the same length in place of a pack, which its size does not show.

        The next dump notices it, unless a killed run has left the pack: its log has no time of writing.
        """
        store = self.host.context.store

        def harm(key: str) -> None:
            store.put_small(key, bytes(store.size(key)))
            self.replaced.add(key)
            if not any(any(folder.rglob("*try")) for folder in self.state_dirs if folder.exists()):
                self.noticed.add(key)

        self._harm(harm)

    def lose_map(self) -> None:
        self.host.map.unlink(missing_ok=True)

    def flip_map(self) -> None:
        if self.host.map.exists():
            content = bytearray(self.host.map.read_bytes())
            content[self.chance.randrange(len(content))] ^= 1 << self.chance.randrange(8)
            self.host.map.write_bytes(content)

    def copy_map(self) -> None:
        """Give this server the map of the other one."""
        other = self.host.map
        self.change_server()
        if other.exists():
            self.host.map.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(other, self.host.map)

    def change_server(self) -> None:
        self.state_dirs.reverse()
        config = replace(self.host.context.config, state_dir=self.state_dirs[0])
        self.host.context = replace(self.host.context, config=config)

    def save_storage(self) -> None:
        shutil.rmtree(self.saved, ignore_errors=True)
        shutil.copytree(self.host.folder, self.saved)

    def roll_back_storage(self) -> None:
        """Put the storage back to an earlier state. The map is newer then."""
        if self.saved.exists():
            shutil.rmtree(self.host.folder)
            self.saved.rename(self.host.folder)

    def _harm(self, harm: Callable[[str], object]) -> None:
        if packs := self.host.packs():
            harm(self.chance.choice(packs))


def _kill() -> None:
    raise Killed


RUNS = (Life.dump, Life.dump_full, Life.dump_differential, Life.dump_suspect)
KILLS = (Life.kill_while_dumping, Life.kill_before_manifest, Life.kill_before_map)
EDITS = (Life.insert, Life.delete, Life.rewrite, Life.next_day)
LOSSES = (Life.prune, Life.sweep, Life.lose_pack, Life.shorten_pack, Life.replace_pack)
MAPS = (Life.lose_map, Life.flip_map, Life.copy_map, Life.change_server)
STORAGE = (Life.save_storage, Life.roll_back_storage)
STEPS = (*RUNS, *[Life.dump] * 4, *KILLS, *EDITS, *EDITS, *LOSSES, *MAPS, *STORAGE)


@pytest.mark.parametrize("seed", range(5))
def test_every_backup_that_is_listed_as_complete_gives_back_its_archive(
    context: BackupContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(writer, "PACK_BYTES", 80_000)
    monkeypatch.setattr(writer, "WINDOW", 50_000)
    life = Life(context, tmp_path, seed)
    for step in [*life.chance.choices(STEPS, k=40), Life.dump]:
        step(life)
        life.host.clock.forward(minutes=10)
    host = life.host
    found = host.complete()
    last = list(host.made)[-1]
    assert last in found, "the last dump refers to nothing that is lost"
    assert not {pack.key for pack in host.part(last).packs} & life.noticed
    for backup_id in found:
        if {pack.key for pack in host.part(backup_id).packs} & life.replaced:
            with pytest.raises(IntegrityError):
                host.read_all(backup_id)
        else:
            assert host.read_all(backup_id) == [host.made[backup_id], *host.made_data[backup_id]]
