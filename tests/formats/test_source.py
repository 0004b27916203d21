"""The record of the source of a dump: it shows lost migrations, and names none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hypothesis import given
from hypothesis import strategies as st

from igny8_backup.formats.source import DIGITS, Source, source_of

RECIPIENTS = ("age1first", "age1second")
APPLIED = {"auth": ("0001_initial", "0002_more"), "content": ("0001_initial",)}

migrations = st.dictionaries(
    st.sampled_from(["auth", "content", "billing"]),
    st.frozensets(st.sampled_from(["0001_initial", "0002_more", "0003_last"]), min_size=1),
)


def made(
    applied: Mapping[str, Iterable[str]] = APPLIED, stale: Mapping[str, Iterable[str]] | None = None
) -> Source:
    return source_of("7", applied, stale or {}, RECIPIENTS)


def test_source_names_no_migration_and_depends_on_the_recipients() -> None:
    source = made()
    assert len(source.migrations) == 3 * DIGITS
    assert "auth" not in str(source) and "initial" not in str(source)
    assert source == source_of("7", APPLIED, {}, RECIPIENTS[::-1]), "in any order"
    other = source_of("7", APPLIED, {}, RECIPIENTS[:1])
    assert not set(_tokens(source)) & set(_tokens(other))
    assert source.lost(other) is None, "tokens of two keys cannot be compared"


def _tokens(source: Source) -> list[str]:
    return [source.migrations[at : at + DIGITS] for at in range(0, len(source.migrations), DIGITS)]


def test_source_without_known_migrations_cannot_be_compared() -> None:
    unknown = source_of("7", None, {}, RECIPIENTS)
    assert unknown == Source(system_identifier="7")
    assert made().lost(unknown) is None and unknown.lost(made()) is None


def test_source_migration_that_the_code_had_dropped_is_not_lost() -> None:
    squashed = {"auth": ("0002_more",)}
    pruned = made({"auth": ("0001_initial",), "content": ("0001_initial",)})
    assert made(stale=squashed).lost(pruned) == 0
    assert made().lost(pruned) == 1


@given(migrations, migrations)
def test_source_law_lost_is_the_number_of_migrations_that_only_the_earlier_one_has(
    then: dict[str, frozenset[str]], now: dict[str, frozenset[str]]
) -> None:
    def flat(found: dict[str, frozenset[str]]) -> set[tuple[str, str]]:
        return {(app, name) for app, names in found.items() for name in names}

    before, after = (source_of("", found, {}, RECIPIENTS) for found in (then, now))
    assert before.lost(after) == len(flat(then) - flat(now))
