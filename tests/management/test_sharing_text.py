"""The lines in which ``show_backup`` says what backups share."""

from __future__ import annotations

import pytest

from igny8_backup.management.sharing_text import sharing_lines
from igny8_backup.operations.maintain.sharing import Sharing

RESTORE = "4 objects and at least as many requests, 2.7 MB; losing one would damage "


@pytest.mark.parametrize(
    ("kind", "backups", "independent", "end"),
    [
        ("files", 1, "", "1 backup"),
        (
            "files",
            3,
            "",
            "3 backups, and prune_backups keeps no separate copy of files",
        ),
        ("database", 3, "", "3 backups"),
        (
            "database",
            3,
            "20261122T215027Z-28df34",
            "3 backups; prune_backups keeps 20261122T215027Z-28df34 as a separate copy, which shares no"
            " object with the newest",
        ),
    ],
)
def test_line_says_what_the_loss_of_an_object_costs(
    kind: str, backups: int, independent: str, end: str
) -> None:
    item = Sharing(
        kind=kind, name="data", objects=4, bytes=2_700_000, backups=backups, independent=independent
    )
    assert list(sharing_lines([item])) == [f"  restore of {kind} data: {RESTORE}{end}"]
