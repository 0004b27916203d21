"""What the demo compares: blind to how things came back, sharp on what came back."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from demo import fingerprint

from tests.services.project import Project


def look(project: Project, database: str | None = None) -> dict[str, object]:
    with project.server.connect(database or project.database) as connection:
        return fingerprint.of_database(connection)


@pytest.mark.postgres(15, 18)
def test_fingerprint_of_a_restored_database_is_equal(project: Project) -> None:
    rows = project.seed_small()
    before = look(project)
    assert fingerprint.rows_in(before) > rows
    copy = f"{project.database}_copy"
    project.server.create_database(copy)
    archive = project.folder / "dump"
    server = project.server
    subprocess.run(
        [server.bin_dir / "pg_dump", "-Fc", "-f", archive, server.url(project.database)], check=True
    )
    subprocess.run(
        [server.bin_dir / "pg_restore", "--exit-on-error", "-d", server.url(copy), archive], check=True
    )
    assert fingerprint.differences(before, look(project, copy)) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            "UPDATE accounts_user SET first_name = first_name || ' ' WHERE id = 3",
            "table public.accounts_user",
        ),
        ("DELETE FROM automation_run WHERE id = 7", "table public.automation_run"),
        ("SELECT nextval('billing_invoice_number')", "sequence public.billing_invoice_number"),
        ("DROP INDEX run_waiting", "the indexes"),
        ("COMMENT ON TABLE reporting.tax_rate IS NULL", "the comments"),
        ("ALTER TABLE billing_invoiceline DISABLE TRIGGER totals_after_delete", "the triggers"),
        ("ALTER TABLE billing_payment DROP CONSTRAINT payment_positive", "the constraints"),
        ("DROP FUNCTION public.billing_keep_invoice_totals() CASCADE", "the functions"),
        ("DROP VIEW reporting.open_invoices", "the views"),
    ],
)
def test_fingerprint_of_a_changed_database_differs(project: Project, change: str, told: str) -> None:
    project.seed_small()
    before = look(project)
    project.sql(change)
    lines = fingerprint.differences(before, look(project))
    assert any(line.startswith(told) for line in lines)


def test_fingerprint_of_a_copied_tree_is_equal(project: Project) -> None:
    project.seed_small()
    copy = project.folder / "copy"
    subprocess.run(["cp", "-a", project.sites, copy], check=True)
    before = fingerprint.of_tree(project.sites)
    assert len(before) > 60
    assert fingerprint.differences(before, fingerprint.of_tree(copy)) == []


def test_fingerprint_of_a_changed_tree_differs(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "a").write_text("one")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    (tmp_path / "link").symlink_to("a")
    before = fingerprint.of_tree(tmp_path)

    def noticed() -> bool:
        return bool(fingerprint.differences(before, fingerprint.of_tree(tmp_path)))

    assert not noticed()
    time = (tmp_path / "a").stat().st_mtime_ns
    os.utime(tmp_path / "a", ns=(time, time + 1))
    assert noticed()
    os.utime(tmp_path / "a", ns=(time, time))
    (tmp_path / "a").chmod(0o600)
    assert noticed()
    (tmp_path / "a").chmod(0o644)
    assert not noticed()
    (tmp_path / ".before-20261122T021500Z").mkdir()
    assert not noticed()
    (tmp_path / "folder" / ".before-20261122T021500Z").mkdir()
    assert noticed()
