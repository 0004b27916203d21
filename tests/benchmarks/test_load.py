"""The ratios of ``benchmarks.load``."""

from __future__ import annotations

from benchmarks.load import FULL, INCREMENTAL, Span, ratios, table


def spans() -> list[Span]:
    """Two rounds: the second machine is half as fast, and the order of the backups differs."""
    found = []
    for number, kinds, speed in ((1, (FULL, INCREMENTAL), 1000), (2, (INCREMENTAL, FULL), 500)):
        rates = {"": 1.0, FULL: 0.6, INCREMENTAL: 0.8}
        for kind in ("", kinds[0], "", kinds[1], ""):
            transactions = int(rates[kind] * speed * 10)
            found.append(
                Span(round=number, kind=kind, begin=5, end=15, stored=10**6, transactions=transactions)
            )
    return found


def test_ratios_compare_a_backup_with_the_spans_beside_it() -> None:
    assert ratios(spans(), FULL) == [0.6, 0.6]
    assert ratios(spans(), INCREMENTAL) == [0.8, 0.8]


def test_table_shows_medians() -> None:
    lines = table(spans()).splitlines()
    assert lines[-3:] == [
        "| without a backup | 750 |  | 10.0 |  |",
        "| during a backup: full | 450 | 0.60 | 10.0 | 1.0 |",
        "| during a backup: incremental | 600 | 0.80 | 10.0 | 1.0 |",
    ]
