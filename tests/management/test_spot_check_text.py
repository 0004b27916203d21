"""The lines in which ``spot_check`` says what it has compared."""

from __future__ import annotations

import pytest

from igny8_backup.management.spot_check_text import spot_lines
from igny8_backup.operations.spot_check.result import SpotPart
from igny8_backup.trees.scan.live_check import LiveCheck

TREE = SpotPart(kind="files", name="uploads", backup_id="20261122T215027Z-28df34")


@pytest.mark.parametrize(
    ("found", "lines"),
    [
        (
            LiveCheck(
                recorded=1510, gone=8, changed=2, typed=1, unfit=0, hashed=500, altered=1, old=1502, missing=3
            ),
            [
                "  1510 files in the backup: 8 no longer exist, 2 have changed",
                "  1 changed file opened: 0 do not begin as their names say",
                "  500 unchanged files read: 1 has other contents than in the backup",
                "  1502 live files are older than the backup: it lacks 3 of them",
            ],
        ),
        (
            LiveCheck(recorded=1, gone=1),
            ["  1 file in the backup: 1 no longer exists, 0 have changed"],
        ),
        (LiveCheck(), ["  0 files in the backup"]),
    ],
)
def test_numbers_of_a_tree_are_put_in_words(found: LiveCheck, lines: list[str]) -> None:
    shown = list(spot_lines(SpotPart(**{**vars(TREE), "numbers": vars(found)})))
    assert shown == ["files uploads, compared with backup 20261122T215027Z-28df34:", *lines]


def test_numbers_of_a_database_are_put_in_words() -> None:
    part = SpotPart(kind="database", name="default", backup_id=TREE.backup_id, numbers={"tables": 38})
    assert list(spot_lines(part)) == [
        "database default, compared with backup 20261122T215027Z-28df34:",
        "  rows of 38 tables compared",
    ]
