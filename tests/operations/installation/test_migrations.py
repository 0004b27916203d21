"""The migrations of a backup and those of the code are compared as sets, not by the last of each app."""

from __future__ import annotations

import json

from igny8_backup.formats.details import DatabaseDetails, by_app
from igny8_backup.operations.installation.migrations import missing_migrations, removed_apps, stale_migrations
from tests.operations import forging
from tests.operations.sandbox.small import SmallProject, migration

NOTHING = "def work(apps, editor):\n    pass\n"
ADD = "migrations.AddField('Order', '{0}', models.IntegerField(default=0))"
SQUASHED = """
from django.db import migrations, models
class Migration(migrations.Migration):
    initial = True
    replaces = {replaces}
    dependencies = []
    operations = [migrations.CreateModel(name="Order", fields=[
        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False)),
        ("customer", models.CharField(max_length=100)), ("second", models.IntegerField(default=0))])]
"""
SQUASHED_NAME = "0001_initial_squashed_0002_second"
REPLACES = "[('shop', '0001_initial'), ('shop', '0002_second')]"
DRY_RUN = ("restore_all", "--dry-run", "--only", "db")
IN_PLACE = ("restore_all", "--in-place", "--dry-run")


def add_second(small: SmallProject) -> None:
    operation = ADD.format("second")
    small.write("shop/migrations/0002_second.py", migration(NOTHING, operations=operation))


def add_third(small: SmallProject, *, after: str) -> None:
    operation = ADD.format("third")
    small.write("shop/migrations/0003_third.py", migration(NOTHING, after=after, operations=operation))


def squash(small: SmallProject, *, replaces: str = REPLACES, delete: bool = False) -> None:
    small.write(f"shop/migrations/{SQUASHED_NAME}.py", SQUASHED.format(replaces=replaces))
    if delete:
        for name in ("0001_initial", "0002_second"):
            (small.folder / f"shop/migrations/{name}.py").unlink(missing_ok=True)


def back_up(small: SmallProject) -> None:
    small.prepare()


def last_recorded(small: SmallProject) -> str:
    (row,) = small.sql("SELECT name FROM django_migrations WHERE app = 'shop' ORDER BY id DESC LIMIT 1")
    return str(row[0])


def test_fresh_installation_with_a_migration_that_the_code_lacks_is_refused(small: SmallProject) -> None:
    """Django records the squashed migration last, so the last one says nothing about the third."""
    add_second(small)
    squash(small)
    add_third(small, after=SQUASHED_NAME)
    back_up(small)
    assert last_recorded(small) == SQUASHED_NAME
    (small.folder / "shop/migrations/0003_third.py").unlink()
    for command in (DRY_RUN, IN_PLACE, ("drill_backup",)):
        refused = small.run(*command).ended(4)
        assert "the code lacks migrations of the backup (shop.0003_third)" in refused.stderr


def test_in_place_after_squashing_with_nothing_pending_is_allowed(small: SmallProject) -> None:
    add_second(small)
    squash(small)
    add_third(small, after=SQUASHED_NAME)
    back_up(small)
    small.run(*IN_PLACE).ended(0)
    small.run("restore_all", "--in-place", "--noinput", "--database-name", small.database).ended(0)


def test_backup_from_before_squashing_is_restored_by_the_squashed_code(small: SmallProject) -> None:
    add_second(small)
    back_up(small)
    squash(small, delete=True)
    small.run(*IN_PLACE).ended(0)
    small.run(*small.restore).ended(0)


def test_squashed_backup_is_refused_by_code_from_before_squashing(small: SmallProject) -> None:
    squash(small, replaces="[]", delete=True)
    back_up(small)
    squash(small, replaces="[]")
    (small.folder / f"shop/migrations/{SQUASHED_NAME}.py").unlink()
    small.write("shop/migrations/0001_initial.py", SQUASHED.format(replaces="[]"))
    refused = small.run(*DRY_RUN).ended(4)
    assert f"shop.{SQUASHED_NAME}" in refused.stderr


def test_rows_of_migrations_that_were_squashed_long_ago_are_ignored(small: SmallProject) -> None:
    """The files are gone and ``replaces`` too: not even the code that made the backup has them."""
    add_second(small)
    back_up(small)
    squash(small, delete=True)
    small.run("migrate", "--verbosity=0").ended(0)
    squash(small, replaces="[]", delete=True)
    small.run("backup_db").ended(0)
    small.run(*IN_PLACE).ended(0)
    small.run(*small.restore).ended(0)
    assert ("0001_initial",) in small.sql("SELECT name FROM django_migrations WHERE app = 'shop'")


def test_partly_applied_squash_is_found_in_the_plan(small: SmallProject) -> None:
    back_up(small)
    squash(small, delete=True)
    refused = small.run(*DRY_RUN).ended(4)
    assert f"squashed migrations of the code replace (shop.{SQUASHED_NAME})" in refused.stderr
    # The code of a backup can restore it, whatever its state.
    small.run("backup_db").ended(0)
    small.run(*DRY_RUN).ended(0)


def test_faked_migration_counts_as_applied(small: SmallProject) -> None:
    small.run("migrate", "--verbosity=0").ended(0)
    add_second(small)
    small.run("migrate", "shop", "--fake", "--verbosity=0").ended(0)
    small.run("backup_db").ended(0)
    small.run(*IN_PLACE).ended(0)
    (small.folder / "shop/migrations/0002_second.py").unlink()
    assert "shop.0002_second" in small.run(*DRY_RUN).ended(4).stderr


def test_pending_migration_is_a_note_and_refused_in_place(small: SmallProject) -> None:
    back_up(small)
    add_second(small)
    assert "NOTE: default: 1 migration will run: shop.0002_second." in small.run(*DRY_RUN).ended(0).stdout
    refused = small.run(*IN_PLACE).ended(4)
    assert "shop: 0001_initial in the backup, 0002_second in the code" in refused.stderr


def test_migration_of_newer_code_that_made_no_backup_is_refused(small: SmallProject) -> None:
    """The backup was made by an old image while the database was migrated by a new one."""
    small.run("migrate", "--verbosity=0").ended(0)
    insert = "INSERT INTO django_migrations (app, name, applied) VALUES ('shop', '{0}', now())"
    small.sql(insert.format("0002_newer"))
    small.sql("UPDATE django_migrations SET id = -1 WHERE name = '0002_newer'")
    small.sql(insert.format("0001_alpha"))
    small.run("backup_db").ended(0)
    refused = small.run(*DRY_RUN).ended(4)
    assert "(shop.0002_newer)" in refused.stderr


def test_backup_of_an_earlier_release_is_judged_by_the_last_migrations_with_a_note(
    small: SmallProject,
) -> None:
    back_up(small)
    (path,) = (small.folder / "storage/igny8/backups").iterdir()
    forging.forget_applied_migrations(small.folder / "storage", path.name)
    assert "recorded only the last migration of each app" in small.run(*DRY_RUN).ended(0).stdout
    assert "recorded only the last migration of each app" in small.run(*IN_PLACE).ended(0).stdout
    add_second(small)
    small.run(*small.restore).ended(0)
    assert small.sql("SELECT second FROM shop_order") == []
    refused = small.run(*IN_PLACE).ended(4)
    assert "shop: 0001_initial in the backup, 0002_second in the code" in refused.stderr
    for name in ("0001_initial", "0002_second"):
        (small.folder / f"shop/migrations/{name}.py").unlink()
    assert "(shop.0001_initial)" in small.run(*DRY_RUN).ended(4).stderr


def test_stale_migrations_are_those_the_code_dropped() -> None:
    applied = {"content": ("0001_initial", "0001_old", "9999_newer"), "gone": ("0001_initial",)}
    assert stale_migrations(applied) == {"content": ("0001_old",)}
    assert stale_migrations({"content": ("0001_initial",)}) == {}
    details = DatabaseDetails(
        alias="default",
        name="x",
        tables=(),
        migrations={"gone": "1"},
        applied_migrations=applied,
        stale_migrations={"content": ("0001_old",)},
    )
    assert "(content.9999_newer)" in missing_migrations(details)[0]
    assert "gone" in removed_apps(details)[0]


def test_app_that_had_another_name_is_installed(small: SmallProject) -> None:
    """A migration of social_django, for example, replaces those of the app of another name before."""
    back_up(small)
    small.sql("INSERT INTO django_migrations (app, name, applied) VALUES ('store', '0001_initial', now())")
    small.run("backup_db").ended(0)
    assert "not installed here: store." in small.run(*DRY_RUN).ended(0).stdout
    initial = small.folder / "shop/migrations/0001_initial.py"
    replaces = "class Migration(migrations.Migration):\n    replaces = [('store', '0001_initial')]\n"
    text = initial.read_text()
    assert "class Migration(migrations.Migration):\n" in text
    initial.write_text(text.replace("class Migration(migrations.Migration):\n", replaces))
    assert "not installed here" not in small.run(*DRY_RUN).ended(0).stdout


def test_by_app_sorts_and_drops_duplicates() -> None:
    found = by_app([("b", "2"), ("a", "1"), ("b", "1"), ("b", "2")])
    assert json.dumps(found) == '{"a": ["1"], "b": ["1", "2"]}'
