"""The test project: its settings, migrations and data."""

from __future__ import annotations

import io
import os
from decimal import Decimal
from pathlib import Path

import pytest
from accounts.models import Account
from billing.models import CreditLedger, Invoice, Payment
from demo import files
from demo.rows import batches
from demo.seed import accounts_for, fill_with_models
from demo.words import site_names
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db.models import F, Sum
from project.environment import database, flag, words

from tests.services.project import SMALL_ACCOUNTS, Project

SQLITE = Path("/nowhere/db.sqlite3")


def test_settings_use_sqlite_only_with_debug() -> None:
    assert database({}, debug=True, sqlite=SQLITE)["NAME"] == SQLITE
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL"):
        database({}, debug=False, sqlite=SQLITE)


@pytest.mark.parametrize("debug", [True, False])
def test_settings_prefer_database_url(debug: bool) -> None:
    parts = {"DB_NAME": "igny8 db", "DB_USER": "me", "DB_HOST": "::1", "DB_PORT": "6432"}
    chosen = database(parts, debug=debug, sqlite=SQLITE)
    assert chosen == {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "igny8 db",
        "USER": "me",
        "PASSWORD": "",
        "HOST": "::1",
        "PORT": "6432",
    }
    url = {**parts, "DATABASE_URL": "postgresql:///other"}
    assert database(url, debug=debug, sqlite=SQLITE)["NAME"] == "other"


def test_database_url_parts_are_unquoted() -> None:
    url = "postgresql://us%40er:p%2Fw%3A%25@[::1]:5433/a%20name?sslmode=require&application_name=x"
    assert database({"DATABASE_URL": url}, debug=False, sqlite=SQLITE) == {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "a name",
        "USER": "us@er",
        "PASSWORD": "p/w:%",
        "HOST": "::1",
        "PORT": "5433",
        "OPTIONS": {"sslmode": "require", "application_name": "x"},
    }


def test_database_url_may_name_a_socket_folder() -> None:
    chosen = database({"DATABASE_URL": "postgres:///name?host=/run/pg"}, debug=False, sqlite=SQLITE)
    assert (chosen["HOST"], chosen["OPTIONS"]) == ("/run/pg", {})


@pytest.mark.parametrize(
    "url",
    ["mysql://me:secret@host/name", "postgresql://me:secret@host", "postgresql://me:secret@host:x/name"],
)
def test_database_url_invalid_raises_without_showing_it(url: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        database({"DATABASE_URL": url}, debug=True, sqlite=SQLITE)
    assert "secret" not in str(caught.value)


def test_environment_flags_and_lists_are_parsed() -> None:
    assert flag("X", True, {}) and not flag("X", True, {"X": "0"}) and flag("X", False, {"X": "True"})
    with pytest.raises(ImproperlyConfigured, match="X must be true or false"):
        flag("X", True, {"X": "perhaps"})
    assert words("X", {"X": "age1a, age1b  age1c"}) == ["age1a", "age1b", "age1c"]


@pytest.mark.parametrize("missing", ["DATABASE_URL", "DJANGO_SECRET_KEY"])
def test_settings_without_debug_require_variables(project: Project, missing: str) -> None:
    done = project.run("check", env={missing: ""})
    assert done.returncode != 0
    assert missing in done.stderr


@pytest.mark.postgres(15, 16, 18)
def test_postgresql_has_objects_of_many_kinds(project: Project) -> None:
    project.run("migrate", "--check", check=True)
    kinds = dict(
        project.sql(
            """SELECT relkind::text, count(*) FROM pg_class WHERE NOT relisshared
               AND relnamespace IN ('public'::regnamespace, 'reporting'::regnamespace) GROUP BY 1"""
        )
    )
    assert kinds["v"] == 1 and kinds["m"] == 1 and kinds["p"] == 1 and kinds["S"] > 10 and kinds["r"] > 25
    triggers = project.sql("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal")
    identities = project.sql("SELECT count(*) FROM pg_attribute WHERE attidentity <> '' AND attrelid > 16383")
    assert triggers[0][0] == 3 and identities[0][0] > 10
    assert project.sql("SELECT 1 FROM pg_type WHERE typtype = 'd' AND typname = 'percentage'")


def test_postgresql_models_and_migrations_agree(project: Project) -> None:
    project.run("makemigrations", "--check", "--dry-run", check=True)
    project.run("migrate", "billing", "zero", check=True)
    project.run("migrate", check=True)


@pytest.mark.slow
@pytest.mark.django_db
def test_sqlite_models_and_migrations_agree() -> None:
    call_command("makemigrations", "--check", "--dry-run", stdout=io.StringIO())


@pytest.mark.postgres(15, 16, 18)
def test_seed_on_postgresql_is_balanced(project: Project) -> None:
    assert project.seed_small() >= 2_000
    assert not project.sql(
        """SELECT invoice.id FROM billing_invoice invoice LEFT JOIN billing_invoiceline line
           ON line.invoice_id = invoice.id GROUP BY invoice.id
           HAVING total IS DISTINCT FROM sum(line.quantity * line.unit_price)"""
    )
    assert not project.sql(
        """SELECT invoice.id FROM billing_invoice invoice LEFT JOIN billing_payment payment
           ON payment.invoice_id = invoice.id GROUP BY invoice.id
           HAVING (state = 'paid') <> (total = coalesce(sum(payment.amount), 0))"""
    )
    assert not project.sql(
        """SELECT account_id FROM billing_creditledger ledger JOIN billing_credittransaction step
           ON step.ledger_id = ledger.account_id GROUP BY account_id HAVING balance <> sum(step.amount)"""
    )
    payments = project.sql("SELECT sum(amount) FROM billing_payment")
    assert payments == project.sql("SELECT sum(amount) FROM reporting.revenue")


def test_trigger_keeps_invoice_total_equal_to_its_lines(project: Project) -> None:
    project.seed_small()
    project.sql("UPDATE billing_invoiceline SET quantity = quantity + 1 WHERE invoice_id = 1")
    project.sql("DELETE FROM billing_invoiceline WHERE invoice_id = 2")
    totals = "SELECT total FROM billing_invoice WHERE id IN (1, 2) ORDER BY id"
    lines = project.sql("SELECT sum(amount) FROM billing_invoiceline WHERE invoice_id = 1")
    assert project.sql(totals) == [lines[0], (Decimal(0),)]


def test_rows_can_be_added_after_the_seed(project: Project) -> None:
    project.seed_small()
    added = project.sql("INSERT INTO content_tag (name) VALUES ('one more') RETURNING id")
    assert added[0][0] == project.sql("SELECT count(*) FROM content_tag")[0][0]
    number = project.sql("SELECT nextval('billing_invoice_number')")[0][0]
    assert not project.sql("SELECT 1 FROM billing_invoice WHERE number = %s", f"IG-{number}")


@pytest.mark.django_db
def test_seed_on_sqlite_is_balanced() -> None:
    assert fill_with_models(2, using="default") > 1_000
    assert Account.objects.count() == 2
    for invoice in Invoice.objects.annotate(lines_total=Sum(F("lines__quantity") * F("lines__unit_price"))):
        assert invoice.total == invoice.lines_total
        paid = Payment.objects.filter(invoice=invoice).aggregate(paid=Sum("amount", default=0))["paid"]
        assert (invoice.state == Invoice.State.PAID) == (paid == invoice.total)
    for ledger in CreditLedger.objects.annotate(steps=Sum("transactions__amount")):
        assert ledger.balance == ledger.steps


def test_seed_is_deterministic() -> None:
    def rows(seed: int) -> list[object]:
        return [(batch.model, batch.columns, list(batch.rows)) for batch in batches(2, seed)]

    assert rows(1) == rows(1)
    assert rows(1) != rows(2)


def test_accounts_follow_from_number_of_rows() -> None:
    assert accounts_for(0) == 2
    assert accounts_for(200_000) == 200
    assert accounts_for(200_001) == 201


def test_files_are_deterministic(tmp_path: Path) -> None:
    def tree(root: Path) -> list[object]:
        found: list[object] = []
        for folder, folders, names in os.walk(os.fsencode(root)):
            folders.sort()
            for name in sorted((*names, b".")):
                path = os.path.join(folder, name)
                entry = os.lstat(path)
                what = (os.path.relpath(path, os.fsencode(root)), entry.st_mode)
                if os.path.islink(path):
                    found.append((*what, os.readlink(path)))
                else:
                    body = b"" if name == b"." else Path(os.fsdecode(path)).read_bytes()
                    found.append((*what, entry.st_mtime_ns, body))
        return found

    folders = [site.folder for site in site_names(2)]
    written = files.write(tmp_path / "a/s", tmp_path / "a/u", folders, files=100)
    files.write(tmp_path / "b/s", tmp_path / "b/u", folders, files=100)
    assert tree(tmp_path / "a/s") == tree(tmp_path / "b/s")
    assert tree(tmp_path / "a/u") == tree(tmp_path / "b/u")
    assert written.files >= 100
    odd = tmp_path / "a/s" / folders[0] / "odd"
    assert not list((odd / "empty folder").iterdir())
    assert (odd / "run.sh").stat().st_nlink == 2
    assert (odd / "dangling").is_symlink() and not (odd / "dangling").exists()


def test_site_rows_have_existing_folders(project: Project) -> None:
    project.seed_small()
    found = [folder for (folder,) in project.sql("SELECT folder FROM igny8_sites_site ORDER BY id")]
    assert len(found) == len(site_names(SMALL_ACCOUNTS))
    assert all((project.sites / folder / "index.html").is_file() for folder in found)


def test_seed_command_seeds_an_empty_project_once(project: Project) -> None:
    done = project.run("seed", "--rows", "2000", "--files", "60", check=True)
    assert "rows of 2 accounts" in done.stdout and "files" in done.stdout
    again = project.run("seed")
    assert again.returncode == 1 and "has accounts already" in again.stderr
