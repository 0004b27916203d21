"""The page "Store only what changed in large files" shows what backups print, and says what they store."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.chunks.cutter import compiled_version
from igny8_backup.operations.backup.trees.large_map import AVERAGE, OLDEST
from igny8_backup.trees.archive.large_tar import LARGE, TAR_LIMIT
from igny8_backup.trees.archive.reader import RACY_NS
from tests.docs.output import as_on_the_page, commands_shown, skeleton
from tests.docs.pages import blocks, page
from tests.management.commands import Command, run_many
from tests.services import hidden
from tests.services.project import Project

pytestmark = pytest.mark.skipif(not compiled_version(), reason="pyfastcdc is not installed")
MIB = 1 << 20
TEXT = page("how-to/store-large-files")
SETTINGS = {"CHUNKED_TREES": ["uploads"]}


def write_large(root: Path) -> None:
    """Write a log of 24 MiB and a database file of 12 MiB."""
    data = random.Random(18)
    (root / "app.log").write_bytes(data.randbytes(24 * MIB))
    (root / "search.sqlite3").write_bytes(data.randbytes(12 * MIB))


def change_large(root: Path, seed: int = 19) -> None:
    """Append to the log, and write one page of the database file."""
    data = random.Random(seed)
    with (root / "app.log").open("ab") as log:
        log.write(data.randbytes(400_000))
    with (root / "search.sqlite3").open("r+b") as database:
        database.seek(5 * MIB)
        database.write(data.randbytes(4096))


def damage_oldest_chunks(project: Project) -> None:
    """Alter a byte of the first pack of chunks in storage."""
    packs = project.storage / "igny8/packs/web-1/uploads"
    pack = min(packs.glob("*.chunks.*"))
    data = bytearray(pack.read_bytes())
    data[1000] ^= 1
    pack.write_bytes(data)


def next_second() -> None:
    """Wait, because two backups of one second would be in no order."""
    time.sleep(1 - time.time() % 1)


def added(project: Project, settings: Mapping[str, Any]) -> int:
    """Back up the tree; return how many bytes of packs were stored."""
    next_second()
    (made,) = run_many(project, Command(["backup_sites", "uploads", "--json"], settings))
    manifest = made.ended(0).json["manifest"]
    packs = manifest["trees"][0]["packs"]
    return sum(pack["stored_bytes"] for pack in packs if manifest["id"] in pack["key"])


@pytest.mark.slow
@pytest.mark.services
def test_large_files_page_shows_what_backups_print(project: Project) -> None:
    project.seed_small()
    write_large(project.uploads)
    _, first, second, third = (commands_shown_in(block) for block in blocks(TEXT, "console"))
    assert_printed(project, *first)
    change_large(project.uploads)
    assert_printed(project, *second)
    damage_oldest_chunks(project)
    run_many(project, Command(["verify_backup"], SETTINGS))[0].ended(6)
    assert_printed(project, *third)
    run_many(project, Command(["verify_backup"], SETTINGS))[0].ended(0)


def commands_shown_in(block: str) -> tuple[list[str], str]:
    """Return the arguments of the only command in a block, and its output; nothing for other programs."""
    if not block.startswith("$ python manage.py"):
        return [], ""
    (found,) = commands_shown(block)
    return found


def assert_printed(project: Project, argv: list[str], shown: str) -> None:
    """Run the command; fail the test unless it prints what the page shows."""
    next_second()
    (done,) = run_many(project, Command(argv, SETTINGS))
    printed = as_on_the_page(done.ended(0).output, project)
    assert skeleton(printed) == skeleton(shown), printed


@pytest.mark.slow
@pytest.mark.services
def test_large_files_page_says_what_is_stored(project: Project) -> None:
    """Of a tree that was backed up before it was named, and after it is not named any more."""
    write_large(project.uploads)
    assert added(project, {}) > 36 * MIB
    assert added(project, SETTINGS) == 0, "unchanged files stay in their packs"
    change_large(project.uploads, 1)
    assert added(project, SETTINGS) > 36 * MIB, "each large file is stored whole once more"
    change_large(project.uploads, 2)
    assert 400_000 < added(project, SETTINGS) < MIB
    maps = [*project.state.rglob("*.map")]
    assert len(maps) == 2, "of this backup and of the last"
    for path in maps:
        assert path.stat().st_size < MIB
        path.unlink()
    assert added(project, SETTINGS) == 0, "a lost map alone stores nothing"
    change_large(project.uploads, 3)
    time.sleep(RACY_NS / 1e9)  # a file that is read sooner after its change is read again by the next backup
    assert added(project, SETTINGS) > 36 * MIB, "the map is lost"
    assert added(project, {}) == 0, "unchanged files stay in chunks"
    change_large(project.uploads, 4)
    assert added(project, {}) > 36 * MIB, "without the setting they are stored whole"


@pytest.mark.services
def test_large_files_page_shows_the_warning_without_the_cutter(project: Project) -> None:
    (project.uploads / "a").write_text("a file")
    project.settings('IGNY8_BACKUP = {**IGNY8_BACKUP, "CHUNKED_TREES": ["uploads"]}')
    path = project.environment["PYTHONPATH"]
    done = project.run("backup_sites", "uploads", env=hidden("pyfastcdc", path=path), check=True)
    (shown,) = blocks(TEXT, "text")
    assert shown.strip() in (done.stdout + done.stderr).splitlines()


def test_large_files_page_names_the_limits() -> None:
    assert f"at least {LARGE // MIB} MiB" in TEXT
    assert f"about {AVERAGE >> 10} KiB" in TEXT
    assert f"older than {OLDEST.days} days" in TEXT
    assert f"Up to {TAR_LIMIT // MIB} MiB of large files" in TEXT
