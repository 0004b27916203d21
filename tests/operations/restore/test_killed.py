"""A restore that is killed at any moment leaves each database and tree completely old or completely new."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from demo.server import PostgresServer

from tests.management.commands import run_many
from tests.management.state import leftovers
from tests.services.project import PYTHON, Project, drop

KILLS, SAMPLED_KILLS = 200, 40
"""The number of kills at all moments, and of a sample."""
SEED = 20261122
ROWS = 500
SCHEMA = f"""
    CREATE TABLE item (id int PRIMARY KEY, state text NOT NULL);
    INSERT INTO item SELECT n, 'new' FROM generate_series(1, {ROWS}) n;
    CREATE TABLE part (id int PRIMARY KEY, item_id int NOT NULL REFERENCES item, state text);
    INSERT INTO part SELECT n, n, 'new' FROM generate_series(1, {ROWS}) n;
    CREATE INDEX ON part (item_id);
    CREATE VIEW whole AS SELECT item.state, count(*), sum(part.id) FROM item JOIN part ON item_id = item.id
        AND part.state = item.state GROUP BY 1;"""
WHOLE = {(ROWS, ROWS * (ROWS + 1) // 2)}
PROGRAM = Path(__file__).with_name("killable.py")
PAGES = 3


class Killer:
    """A project with a small database and two trees, and the program that restores it and is killed."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.random = random.Random(SEED)  # noqa: S311 - the same kills each time
        self.kills = 0
        self._process = subprocess.Popen(
            [*PYTHON, PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=project.environment,
            cwd=project.folder,
        )

    def run(self, work: str, **how: Any) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({"work": work, **how}) + "\n")
        self._process.stdin.flush()
        done: dict[str, Any] = json.loads(self._process.stdout.readline())
        self.kills += done["status"] == -9
        assert done["status"] in (0, -9) and not done["error"], done
        return done

    def close(self) -> None:
        self._process.communicate()

    def database(self) -> str:
        """Return whether the old or the new database is live; fails the test if it is incomplete."""
        with self.project.server.connect(self.project.database) as session:
            ((state, *sums),) = session.execute("SELECT * FROM whole").fetchall()
            assert {tuple(sums)} == WHOLE
            indexes = session.execute(
                "SELECT count(*) FROM pg_indexes WHERE schemaname = 'public'"
            ).fetchone()
            assert indexes == (3,)
        return str(state)

    def pages(self, root: Path) -> list[str]:
        """Return the state of each page in the tree; fails the test if one is missing or incomplete."""
        texts = [(root / f"{number}/page").read_text().split() for number in range(PAGES)]
        assert all(len(words) == 50 and len(set(words)) == 1 for words in texts)
        return [words[0] for words in texts]

    def check(self) -> set[str]:
        """After a kill: each database, each page and the tree with a swapped root is old or new."""
        swapped_root = set(self.pages(self.project.uploads))
        assert len(swapped_root) == 1
        return {self.database(), *self.pages(self.project.sites), *swapped_root}

    def check_settled(self) -> str:
        """After the next run: everything is old, or everything is new."""
        (state,) = self.check()
        return state


def write(root: Path, state: str) -> None:
    for number in range(PAGES):
        (root / str(number)).mkdir(exist_ok=True)
        (root / f"{number}/page").write_text(f"{state} " * 50)


@pytest.fixture
def killer(postgres_18: PostgresServer, tmp_path: Path) -> Iterator[Killer]:
    project = Project(postgres_18, tmp_path)
    project.settings("IGNY8_BACKUP |= {'ENCRYPTION': None, 'JOBS': 1, 'SWAP_WHOLE': ['uploads']}")
    postgres_18.create_database(project.database)
    project.sql(SCHEMA)
    for root in (project.sites, project.uploads):
        write(root, "new")
    (made,) = run_many(project, ["backup_all"])
    made.ended(0)
    project.sql("UPDATE item SET state = 'old'")
    project.sql("UPDATE part SET state = 'old'")
    for root in (project.sites, project.uploads):
        write(root, "old")
    found = Killer(project)
    yield found
    found.close()
    drop(project)


def test_restore_killed_at_any_moment_leaves_everything_old_or_new(killer: Killer, exhaustive: bool) -> None:
    """Restore, undo and discard in turn. Another command settles a killed one, and may be killed too."""
    counted, seconds = {}, {}
    for work in ("restore", "undo", "discard"):
        begun = time.monotonic()
        counted[work] = killer.run(work)["boundaries"]
        seconds[work] = time.monotonic() - begun
    assert counted["restore"] > 25 and counted["undo"] > 8 and counted["discard"] > 8, counted
    plans: dict[str, list[dict[str, Any]]] = {
        work: [{"at": number} for number in range(1, count + 1)] for work, count in counted.items()
    }
    for ways in plans.values():
        killer.random.shuffle(ways)
        if not exhaustive:
            del ways[len(ways) // 4 :]
    next_work = "restore"
    kills = KILLS if exhaustive else SAMPLED_KILLS
    while killer.kills < kills or any(plans.values()):
        ways = plans[next_work]
        if ways:
            how = ways.pop()
        elif any(plans.values()):  # on a busy machine, a restore that is killed early would never end
            how = {}
        else:
            how = {"after": killer.random.uniform(0.02, seconds[next_work])}
        killer.run(next_work, **how)
        killer.check()
        if killer.random.random() < 0.2:  # the command that settles it is killed as well
            killer.run("settle", after=killer.random.uniform(0.02, 0.2))
            killer.check()
        next_work = settle(killer)
    print(f"{killer.kills} kills; boundaries: {counted}")
    for work in [*remaining(killer), "restore", "undo", "discard"]:
        assert killer.run(work)["status"] == 0
    assert killer.check_settled() == "old"
    assert leftovers(killer.project) == []
    assert not [name for name in os.listdir(killer.project.folder) if name.startswith(".")]


def phase(killer: Killer) -> str:
    """Return the phase of the newest journal, or an empty string."""
    folder = killer.project.state / "restores"
    found = sorted(folder.glob("*.json"))
    return str(json.loads(found[-1].read_text())["phase"]) if found else ""


def settle(killer: Killer) -> str:
    """Complete or undo what is unfinished; return the next command to kill."""
    before = phase(killer)
    if before in ("preparing", "swapping", "undoing"):
        killer.run(work := killer.random.choice(["settle", "undo"]))
        after = phase(killer)
        goals = {"preparing": "", "swapping": "done" if work == "settle" else "undone", "undoing": "undone"}
        assert after == goals[before]
    after = phase(killer)
    assert killer.check_settled() == ("new" if after == "done" else "old")
    return {"done": "undo", "undone": "discard"}.get(after, "restore")


def remaining(killer: Killer) -> Iterator[str]:
    """Return the commands that bring everything back to the initial state."""
    if phase(killer) == "done":
        yield "undo"
    if phase(killer):
        yield "discard"
