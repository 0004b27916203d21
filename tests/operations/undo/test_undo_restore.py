"""``undo_restore`` on PostgreSQL: the plan, the questions, the redo, and what it refuses to delete."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

import pytest
from demo.server import PostgresServer

from tests.management.commands import Done, run_many
from tests.management.state import leftovers
from tests.services.project import Project, create, drop


@pytest.fixture
def lost(postgres_18: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project that has been backed up, and whose database and files are gone.

    Restore A creates the database, restore B replaces it: the second is newer.
    """
    project = create(postgres_18, tmp_path_factory.mktemp("lost"))
    project.seed_small()
    (made,) = run_many(project, ["backup_all"])
    made.ended(0)
    project.server.drop_database(project.database)
    for root in (project.sites, project.uploads):
        shutil.rmtree(root)
        root.mkdir()
    for _ in range(2):
        (done,) = run_many(project, restore(project))
        done.ended(0)
    yield project
    drop(project)


def restore(project: Project) -> list[str]:
    named = ["--database-name", project.database, "--identity", str(project.identity)]
    return ["restore_all", "--noinput", *named]


def run(project: Project, *argv: str, status: int = 0) -> Done:
    (done,) = run_many(project, ["undo_restore", *argv])
    return done.ended(status)


def stamps(project: Project) -> list[str]:
    return sorted(path.stem for path in (project.state / "restores").glob("*.json"))


def is_complete(project: Project) -> bool:
    return project.database in project.databases() and any(project.sites.glob("[!.]*"))


def test_undo_restore_twice_redoes_and_never_undoes_the_restore_before(lost: Project) -> None:
    first, second = stamps(lost)
    undone = run(lost)
    assert f"Plan: undo the restore {second}" in undone.stdout
    assert "To redo the restore: python manage.py undo_restore\n" in undone.stdout
    assert f"To undo the restore before it too: python manage.py undo_restore {first}\n" in undone.stdout
    assert is_complete(lost)
    redone = run(lost)
    assert f"Plan: REDO the restore {second}" in redone.stdout
    assert is_complete(lost)
    assert stamps(lost) == [first, second]


def test_undo_restore_that_leaves_nothing_live_asks_and_discard_refuses(lost: Project) -> None:
    first, second = stamps(lost)
    run(lost)
    planned = run(lost, first, "--dry-run")
    assert f"NOTHING comes back: there will be no database {lost.database}" in planned.stdout
    assert "so NOTHING will be live" in planned.stdout
    for argv in ([], ["--noinput"], ["--noinput", "--database-name", "another"]):
        refused = run(lost, first, *argv, status=2)
        assert f"--noinput --database-name {lost.database}" in refused.stderr
        assert is_complete(lost)
    undone = run(lost, first, "--noinput", "--database-name", lost.database)
    assert lost.database not in lost.databases()
    assert "start the application" not in undone.stdout and "--discard" not in undone.stdout
    assert "To redo the restore: python manage.py undo_restore\n" in undone.stdout
    before = lost.databases()
    for argv in ([], [first], [second]):
        refused = run(lost, "--discard", *argv, "--noinput", status=4)
        assert f"The database {lost.database} is missing or empty, so {lost.database}__" in refused.stderr
        assert "Nothing was deleted." in refused.stderr
    assert lost.databases() == before
    # Following the printed command brings all of it back.
    (command,) = set(re.findall(rf"python manage.py undo_restore ({first})\n", refused.stderr)) or {first}
    run(lost, command)
    assert is_complete(lost)


def test_undo_restore_discard_lists_sizes_and_takes_one_restore(lost: Project) -> None:
    first, second = stamps(lost)
    planned = run(lost, "--discard", "--dry-run")
    (line,) = [text for text in planned.stdout.splitlines() if f"{lost.database}__before_{second}" in text]
    assert re.search(r"\d+ tables, [\d.]+ MB, kept for \d+ seconds?; live now: \d+ tables", line)
    assert f"{lost.sites}/.before-{second}, " in planned.stdout
    run(lost, "--discard", second, "--noinput")
    assert stamps(lost) == [first]
    assert not list(lost.sites.glob(f".before-{second}"))
    refused = run(lost, "--discard", second, "--noinput", status=2)
    assert f"Restores that keep data: {first}" in refused.stderr
    run(lost, "--discard", "--noinput")
    assert leftovers(lost) == [] and is_complete(lost)


def test_undo_restore_interrupted_without_live_database_is_completed(lost: Project) -> None:
    """The live database was dropped by hand; the undo stops after the database and is run again."""
    _, second = stamps(lost)
    lost.server.drop_database(lost.database)
    away = lost.folder / "not mounted"
    lost.uploads.rename(away)
    run(lost, status=1)  # the kept tree is missing: nothing is begun
    away.rename(lost.uploads)
    run(lost)
    assert is_complete(lost)
    assert f"{lost.database}__before_{second}" not in lost.databases()


def test_undo_restore_after_a_restore_in_place_names_both_ways_back(lost: Project) -> None:
    """The restore before it is undone only by name."""
    _, second = stamps(lost)
    (done,) = run_many(lost, [*restore(lost), "--in-place", "--only", "db"])
    saved = re.search(r"in backup (\S+)\. Only it can undo", done.ended(0).output)
    assert saved is not None
    refused = run(lost, "--dry-run", status=2)
    assert (
        f"The last restore was in place: it replaced the contents of 'default' after the restore {second}"
        in (refused.stderr)
    )
    assert f"restore_all {saved[1]} --in-place --only default" in refused.stderr
    assert f"To undo the restore before it: python manage.py undo_restore {second}." in refused.stderr
    assert f"Plan: undo the restore {second}" in run(lost, second, "--dry-run").stdout
    (released,) = run_many(lost, ["pin_backup", saved[1], "--unpin"])
    released.ended(0)
    assert f"Plan: undo the restore {second}" in run(lost, "--dry-run").stdout
