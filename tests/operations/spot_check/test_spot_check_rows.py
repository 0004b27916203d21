"""Compare the rows of a live database with its newest backup."""

from __future__ import annotations

import pytest

from tests.operations.sandbox.small import SmallProject

pytestmark = [pytest.mark.slow, pytest.mark.services]


@pytest.fixture
def filled(small: SmallProject) -> SmallProject:
    """The project with 200 orders in its database, backed up."""
    small.run("migrate", "--verbosity=0").ended(0)
    small.sql("INSERT INTO shop_order (customer) SELECT 'c' FROM generate_series(1, 200)")
    small.run("backup_db").ended(0)
    return small


def test_spot_check_counts_every_recorded_table(filled: SmallProject) -> None:
    ((tables,),) = filled.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
    assert f"  rows of {tables} tables compared\n" in filled.run("spot_check").ended(0).output


@pytest.mark.parametrize("statement", ["TRUNCATE shop_order", "DROP TABLE shop_order"])
def test_spot_check_finds_a_table_that_lost_its_rows(filled: SmallProject, statement: str) -> None:
    filled.sql(statement)
    output = filled.run("spot_check").ended(7).output
    assert "ALARM: default, backup " in output and "lost more than half of their rows" in output


def test_spot_check_names_a_table_that_it_cannot_count(filled: SmallProject) -> None:
    filled.sql("ALTER TABLE shop_order ENABLE ROW LEVEL SECURITY")
    filled.sql("ALTER TABLE shop_order FORCE ROW LEVEL SECURITY")
    output = filled.run("spot_check").output
    assert "NOT COMPARED: default: The rows of public.shop_order could not be counted." in output


def test_spot_check_after_a_restore_in_place_still_has_the_counts(filled: SmallProject) -> None:
    filled.run(*filled.restore, "--in-place").ended(0)
    assert "database default, compared with backup" in filled.run("spot_check").ended(0).output
