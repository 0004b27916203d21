"""The page "Recover on the worst day" works as written, from an empty server, empty disks, the storage
and the identity; and it shows what the commands print."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

import pytest
from demo.account import private_folder
from demo.installed import installed
from demo.server import PostgresServer

from tests.docs.output import as_on_the_page, commands_shown, skeleton
from tests.docs.pages import blocks, page, section
from tests.management.commands import run_many
from tests.management.state import differences, leftovers, of_project
from tests.services.project import Project

ROLE = "reporting"
IDENTITY = "/key/igny8-backup.key"
STEPS = {
    int(heading.split()[1].rstrip(".")): heading
    for heading in re.findall(r"^## \d+\. .+$", page("how-to/worst-day"), re.MULTILINE)
}


@pytest.fixture
def empty_server(pg: PostgresServer) -> Iterator[PostgresServer]:
    """A second server of the same major version, with only the application's role."""
    bin_dir = installed(pg.major)
    assert bin_dir
    base = private_folder("igny8-empty-")
    try:
        with PostgresServer(bin_dir, base, durable=False) as server:
            yield server
    finally:
        shutil.rmtree(base)


@pytest.fixture
def project_with_a_role(project: Project) -> Iterator[Project]:
    """The project before the disaster. A second role has a privilege in its database."""
    lost = project.server
    with lost.connect(project.database, superuser=True) as session:
        session.execute(f"CREATE ROLE {ROLE}".encode())
        session.execute(f"GRANT SELECT ON content_article TO {ROLE}".encode())
    try:
        yield project
    finally:
        project.server = lost
        lost.drop_database(project.database)
        with lost.connect(superuser=True) as session:
            session.execute(f"DROP ROLE {ROLE}".encode())


def lose_everything(project: Project, server: PostgresServer) -> None:
    """Replace the server and all folders by empty ones. Only the storage and the identity are left."""
    for folder in (project.sites, project.uploads, project.logs, project.state, project.scratch):
        shutil.rmtree(folder)
        folder.mkdir()
    project.server.drop_database(project.database)
    project.server = server
    project.environment["DATABASE_URL"] = server.url(project.database)
    project.environment["IGNY8_BACKUP_CLIENT_BIN_DIR"] = str(server.bin_dir)


def steps(number: int) -> list[tuple[list[str], str]]:
    """Return each command of a step, and the output that the page shows."""
    shown = blocks(section(page("how-to/worst-day"), STEPS[number]), "console")
    return [command for block in shown for command in commands_shown(block)]


def follow(project: Project, number: int, *statuses: int) -> None:
    """Run the commands of a step, expecting these exit statuses and the output that the page shows."""
    for (argv, shown), status in zip(steps(number), statuses, strict=False):
        names = {IDENTITY: str(project.identity), "igny8": project.database}
        (done,) = run_many(project, [names.get(word, word) for word in argv])
        said = as_on_the_page(done.ended(status).output, project)
        assert skeleton(said) == skeleton(shown), said
        if status:
            make_the_missing_role(project, said)


def make_the_missing_role(project: Project, said: str) -> None:
    """Create the missing role with the SQL that the command printed, as the page says."""
    (create,) = re.findall(r"CREATE ROLE [^;]+;", said)
    assert f"--command '{create}'" in section(page("how-to/worst-day"), STEPS[5])
    with project.server.connect(superuser=True) as session:
        session.execute(create.encode())


def test_worst_day_page_commands_restore_onto_an_empty_server(
    project_with_a_role: Project, empty_server: PostgresServer
) -> None:
    project = project_with_a_role
    project.seed_small()
    before = of_project(project)
    (made,) = run_many(project, ["backup_all", "--logs"])
    made.ended(0)
    lose_everything(project, empty_server)
    assert [len(steps(number)) for number in STEPS] == [0, 0, 0, 0, 3, 1, 1, 0, 2, 3]
    follow(project, 5, 0, 4, 0)
    follow(project, 6, 0)
    follow(project, 7, 0)
    follow(project, 9, 0, 0)
    assert project.database not in project.databases()
    (redone,) = run_many(project, ["undo_restore"])
    redone.ended(0)
    follow(project, 10, 0, 0, 0)
    assert differences(before, of_project(project)) == []
    assert leftovers(project) == [] and project.databases() == [project.database]
