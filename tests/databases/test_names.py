"""Names derived from the live name, and names of tables."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from igny8_backup.databases.names import DRILL, PREVIOUS, STAGING, derived_name, is_derived_name, table_name

STAMP = "20261122T021500Z"
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(
    lambda name: len(name.encode()) <= 63
)


@given(NAMES, st.sampled_from([STAGING, PREVIOUS, DRILL]))
def test_derived_name_fits_and_is_recognised(name: str, word: str) -> None:
    found = derived_name(name, word, STAMP)
    assert len(found.encode()) <= 63
    assert is_derived_name(found, name)
    assert found != name


@given(NAMES, NAMES)
def test_derived_names_of_two_databases_differ(one: str, other: str) -> None:
    if one != other:
        assert derived_name(one, STAGING, STAMP) != derived_name(other, STAGING, STAMP)
        assert not is_derived_name(derived_name(one, STAGING, STAMP), other)


def test_is_derived_name_rejects_similar_names() -> None:
    for name in ("shop", "shop2__side_" + STAMP, "shop__side_", "shop__side_copy", "shop__old_" + STAMP):
        assert not is_derived_name(name, "shop")


def test_table_name_quotes_names_that_are_not_plain() -> None:
    assert table_name("public", "billing_invoice2") == "public.billing_invoice2"
    assert table_name("Public", 'a "b".c') == '"Public"."a ""b"".c"'
    assert table_name("public", "user") == "public.user"
