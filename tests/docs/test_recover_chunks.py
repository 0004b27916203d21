"""The page "Recover from chunks by hand" works as written, after the steps of "Recover by hand"."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from igny8_backup.chunks.cutter import compiled_version
from igny8_backup.databases.postgresql.dump.placement import archives_of
from tests.docs.pages import blocks, page, section
from tests.docs.test_recovery_by_hand import make_odd, rows, run, script, tools, tree
from tests.management.commands import Command, run_many
from tests.services.project import Project

pytestmark = [
    pytest.mark.slow,
    pytest.mark.services,
    pytest.mark.skipif(not compiled_version(), reason="pyfastcdc is not installed"),
]
MIB = 1 << 20


def blocks_below(*headings: str) -> str:
    """Return the blocks below the headings of the page as one script."""
    text = page("how-to/recover-from-chunks")
    return "\n".join(block for heading in headings for block in blocks(section(text, heading), "sh"))


def with_dump(text: str) -> str:
    """Return steps 1 to 6 of the script of "Recover by hand", with the blocks about dumps in chunks."""
    other = blocks_below("## Put an archive together", "## A dump")
    whole = r'(?ms)^open_object "backups/\$ID/db/\$ALIAS\.dump.*?command="ANALYZE"$'
    text, found = re.subn(whole, lambda match: other, text)
    assert found == 1
    return text[: text.index("\nTREE=")]


def with_large_files(text: str) -> str:
    """Return the script of "Recover by hand" without step 6, with the blocks about large files.

    Steps 7 and 8 are there twice: for the tree "sites-data", and for the tree "uploads".
    """
    other = blocks_below("## Put an archive together", "## The large files of a tree")
    steps_1_to_5, _, rest = text.partition("\nALIAS=")
    step_7 = rest.index("\nTREE=")
    steps = rest[step_7 : rest.index('\nrm -r "$WORK"')]
    steps, found = re.subn(r"(?m)^open_pack\(\) \{$", lambda match: f"{other}\n{match[0]}", steps)
    assert found == 1
    again = steps.replace("TREE='sites-data'", "TREE='uploads'").replace("/recovered'", "/uploads'")
    return steps_1_to_5 + steps + again


def write_large(root: Path) -> None:
    """Write large files: a log, a database file, and one that is renamed later; and a smaller one."""
    data = random.Random(18)
    for name, size in (("by hand/a.log", 14), ("shop.sqlite3", 12), ("video.mp4", 9), ("small.bin", 3)):
        (root / name).write_bytes(data.randbytes(size * MIB))


def change_large(root: Path) -> None:
    """Append to the log, change a place in the database file, rename and touch the others."""
    data = random.Random(19)
    with (root / "by hand/a.log").open("ab") as log:
        log.write(data.randbytes(100_000))
    with (root / "shop.sqlite3").open("r+b") as database:
        database.seek(5 * MIB)
        database.write(data.randbytes(4096))
    (root / "video.mp4").rename(root / "by hand" / "old video\n.mp4")
    (root / "small.bin").chmod(0o600)


@pytest.mark.parametrize("jobs", [1, 2])
def test_pages_commands_restore_an_incremental_dump(project: Project, tmp_path: Path, jobs: int) -> None:
    tools(project)
    project.seed_small()
    backup = Command(["backup_db", "--json"], {"CHUNKED_DUMPS": ["default"], "DUMP_JOBS": jobs})
    run_many(project, backup)[0].ended(0)
    project.sql("CREATE TABLE later AS SELECT generate_series(1, 1000) AS n")
    (made,) = run_many(project, backup)
    manifest = made.ended(0).json["manifest"]
    assert manifest["databases"][0]["chunked"]["kind"] == "incremental"
    archives = 1 + len(manifest["databases"][0]["data"])
    assert archives == archives_of(jobs)
    before, recovered = rows(project, project.database), f"{project.database}_recovered"
    values = {
        "STORAGE": str(project.storage / "igny8"),
        "IDENTITY": str(project.identity),
        "WORK": str(tmp_path / "work"),
        "ID": manifest["id"],
        "ALIAS": "default",
        "DATABASE": recovered,
        "TREE": "none",
        "TARGET": "/none",
    }
    done = run(project, with_dump(script(values)), tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.count(" is as it was stored: ") == archives
    assert rows(project, recovered) == before


def test_pages_commands_restore_large_files_of_an_incremental_backup(
    project: Project, tmp_path: Path
) -> None:
    tools(project)
    project.seed_small()
    make_odd(project.sites)
    write_large(project.sites)
    (project.uploads / "disk.img").write_bytes(random.Random(17).randbytes(10 * MIB))
    backup = Command(["backup_sites", "--json"], {"CHUNKED_TREES": ["sites-data", "uploads"]})
    first = run_many(project, backup)[0].ended(0).json["manifest"]
    change_large(project.sites)
    (made,) = run_many(project, backup)
    second = made.ended(0).json["manifest"]
    (part,) = [part for part in second["trees"] if part["name"] == "sites-data"]
    packs = [pack for pack in part["packs"] if ".chunks." in pack["key"]]
    old = [pack for pack in packs if first["id"] in pack["key"]]
    new = sum(pack["stored_bytes"] for pack in packs if second["id"] in pack["key"])
    assert old and 100_000 < new < 3 * MIB, "the second backup needs chunks of both"
    before, uploads = tree(project.sites), tree(project.uploads)
    values = {
        "STORAGE": str(project.storage / "igny8"),
        "IDENTITY": str(project.identity),
        "WORK": str(tmp_path / "work"),
        "ID": second["id"],
        "ALIAS": "none",
        "DATABASE": "none",
        "TREE": "sites-data",
        "TARGET": str(tmp_path / "recovered"),
    }
    done = run(project, with_large_files(script(values)), tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "All packs are tars" not in done.stdout
    assert done.stdout.count(" is as it was stored: ") == 3, "two tars of the one tree, one of the other"
    assert (tree(tmp_path / "recovered"), tree(tmp_path / "uploads")) == (before, uploads)
    for found in (before, uploads):
        assert f"{len(found)} things are as they were, 0 are not" in done.stdout
