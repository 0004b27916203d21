"""A migration in the middle of a dump passes at once, and the backup is made afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from demo.server import PostgresServer

from igny8_backup.errors import YieldedError
from igny8_backup.formats.documents.run_record import YIELDED
from igny8_backup.formats.manifest import COMPLETE
from igny8_backup.operations.backup import make_way
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.maintain.inventory import read_inventory
from igny8_backup.operations.monitor.host_conditions import host_conditions, host_states
from tests.databases.stage import Stage, configured
from tests.operations.conftest import Notes

pytestmark = pytest.mark.slow

ROWS = "INSERT INTO item (name) SELECT repeat(md5(n::text), 4) FROM generate_series(1, 50000) n"
REQUEST = BackupRequest(databases=("stage",), yield_after=0.5)


class Migrating(Notes):
    """A progress that migrates the database while the first of each of the next ``times`` dumps is read."""

    def __init__(self, stage: Stage, times: int) -> None:
        super().__init__()
        self.stage = stage
        self.left = times
        self.begun = False

    def begin(self, what: str, total: int | None, count: int | None = None, unit: str = "files") -> None:
        self.begun = True

    def advance(self, amount: int, count: int = 0) -> None:
        if self.begun and self.left:
            self.begun, self.left = False, self.left - 1
            query = f"ALTER TABLE item ADD COLUMN extra_{self.left} integer"
            migration = threading.Thread(target=self.stage.sql, args=(query,))
            migration.start()
            migration.join(60)
            assert not migration.is_alive(), "the dump did not let the migration pass"


@pytest.fixture
def stage(pg: PostgresServer, tmp_path: Path) -> Iterator[Stage]:
    made = Stage(pg, tmp_path)
    made.create()
    made.sql(ROWS)
    with configured(made.alias, made.settings()):
        yield made
    pg.drop_database(made.name)


def hourly(context: BackupContext, stage: Stage, times: int) -> BackupContext:
    """Return a context for the database of ``stage``, into which ``times`` migrations come."""
    config = replace(context.config, databases=(stage.alias,), sites={}, client_bin_dir=stage.bin_dir)
    return replace(context, config=config, progress=Migrating(stage, times), wait=600)


def failed_conditions(context: BackupContext) -> list[str]:
    inventory = read_inventory(context)
    conditions = [item for host in host_states(inventory) for item in host_conditions(host, inventory, None)]
    return [item.name for item in conditions if not item.ok]


@pytest.mark.parametrize("times", [1, 2])
def test_migration_during_a_dump_passes_and_the_backup_is_tried_again(
    context: BackupContext, stage: Stage, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_way, "AGAIN_AFTER", 0.1)
    context = hourly(context, stage, times)
    if times == 1:
        assert run_backup(context, REQUEST).manifest
    else:
        with pytest.raises(YieldedError, match=r"ended to let other sessions pass\. Process \d+ .*on item"):
            run_backup(context, REQUEST)
    runs = context.catalog.runs()
    assert [run.outcome for run in runs] == [COMPLETE if times == 1 else YIELDED, YIELDED]
    assert not read_inventory(context).failing(), "a run that yielded does not stop retention"
    assert failed_conditions(context) == ([] if times == 1 else ["run"])
    stage.wait_until_unused()
