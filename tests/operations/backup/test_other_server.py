"""A new host or an old copy of the database never becomes the newest truth by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from demo.server import PostgresServer

from tests.management.commands import Command, run_many
from tests.services.project import Project

pytestmark = [pytest.mark.slow, pytest.mark.services]

KEEP_ONE = {"RETENTION": {"last": 1}}


@pytest.fixture
def elsewhere(project: Project, postgres_16: PostgresServer) -> Iterator[dict[str, str]]:
    """The environment of a host that has the same settings, and another database server."""
    name = f"{project.database}_elsewhere"
    postgres_16.create_database(name)
    env = {"DATABASE_URL": postgres_16.url(name)}
    project.run("migrate", env=env, check=True)
    yield env
    postgres_16.drop_database(name)


def test_backup_of_another_server_counts_for_nothing_until_accepted(
    project: Project, elsewhere: dict[str, str]
) -> None:
    (good,) = run_many(project, ["backup_db", "--json"])
    first = good.ended(0).json["manifest"]
    assert first["databases"][0]["source"]["system_identifier"].isdigit()
    (made,) = run_many(project, ["backup_db", "--json"], env=elsewhere)
    second = made.ended(3).json["manifest"]["id"]
    said = "default SUSPECT: it comes from another database server (system identifier "
    assert said in made.stderr and f"than backup {first['id']}" in made.stderr
    assert f"If the change is intended: python manage.py accept_backup {second}" in made.stderr
    pruned, planned, watched = run_many(
        project,
        Command(["prune_backups", "--json"], KEEP_ONE),
        ["restore_all", "--dry-run", "--only", "db", "--identity", str(project.identity)],
        ["monitor_backups"],
    )
    assert pruned.ended(0).json["removed"] == []
    assert f"database default: from {first['id']}" in planned.ended(0).stdout
    assert f"Backup {second} is not used for 'default'" in planned.stdout
    assert "OK      size, database default of web-1" in watched.ended(7).stdout
    assert f"FAILED  source, database default of web-1: {second} is suspect" in watched.stdout
    accepted, removed, again = run_many(
        project,
        ["accept_backup", second, "--reason", "moved"],
        Command(["prune_backups", "--json"], KEEP_ONE),
        ["backup_db"],
    )
    assert "is accepted" in accepted.ended(0).stdout
    assert removed.ended(0).json["removed"] == [first["id"]]
    assert "SUSPECT: it comes from another database server" in again.ended(3).stderr


def test_backup_after_an_announced_move_is_not_suspect(project: Project, elsewhere: dict[str, str]) -> None:
    run_many(project, ["backup_db"])[0].ended(0)
    announced, refused, both, alone = run_many(
        project,
        ["accept_backup", "--next", "--reason", "pg_upgrade to 18"],
        ["accept_backup", "--next", "--part", "nosuch", "--reason", "x"],
        ["accept_backup", "--next", "--lost"],
        ["accept_backup", "--reason", "x"],
    )
    assert "The next backup of 'default' by this host may come from another" in announced.ended(0).stdout
    assert "This host backs up no database 'nosuch'" in refused.ended(2).stderr
    assert "--next announces a move" in both.ended(2).stderr
    assert "needs either the id of a backup or --next" in alone.ended(2).stderr
    first, second = run_many(project, ["backup_db", "--json"], ["backup_db", "--json"], env=elsewhere)
    (part,) = first.ended(0).json["manifest"]["databases"]
    assert (part["expected"]["by"], part["expected"]["reason"]) == ("move", "pg_upgrade to 18")
    assert second.ended(0).json["manifest"]["databases"][0]["expected"] is None


def test_backup_whose_migrations_went_back_is_suspect(project: Project) -> None:
    run_many(project, ["backup_db"])[0].ended(0)
    (gone,) = project.sql("SELECT app, name FROM django_migrations ORDER BY id DESC LIMIT 1")
    project.sql("DELETE FROM django_migrations WHERE app = %s AND name = %s", *gone)
    (made,) = run_many(project, ["backup_db", "--json"])
    assert "1 migration that backup " in made.ended(3).stderr and "is not applied any more" in made.stderr
    assert (
        gone[1]
        not in (project.storage / f"igny8/backups/{made.json['manifest']['id']}")
        .joinpath("manifest.json")
        .read_text()
    )


def test_backup_by_a_role_that_may_not_read_the_identifier_raises_no_alarm(project: Project) -> None:
    run_many(project, ["backup_db"])[0].ended(0)
    function = "EXECUTE ON FUNCTION pg_control_system()"
    with project.server.connect(project.database, superuser=True) as session:
        session.execute(f"REVOKE {function} FROM PUBLIC".encode())
    (made,) = run_many(project, ["backup_db", "--json"])
    (part,) = made.ended(0).json["manifest"]["databases"]
    assert part["source"]["system_identifier"] == "" and part["source"]["migrations"]
