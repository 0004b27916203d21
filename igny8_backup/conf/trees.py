"""The keys that name trees of files."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from igny8_backup import keys
from igny8_backup.conf.reader import Reader
from igny8_backup.conf.values import SETTING


def take_trees(reader: Reader, key: str) -> dict[str, Path]:
    """Name -> whole path of the folder."""
    trees: dict[str, Path] = {}
    for name, found in reader.take(key, dict, {}).items():
        if not (isinstance(name, str) and keys.is_name(name)):
            reader.wrong(
                "E006",
                f"{SETTING}[{key!r}] has the name {name!r}.",
                "A name is made of letters, digits, - and _, at most 63.",
            )
        elif path := reader.path(f"{SETTING}[{key!r}][{name!r}]", found):
            trees[name] = path
    return trees


def check_trees(
    reader: Reader, sites: Collection[str], logs: Collection[str], swap_whole: Collection[str]
) -> None:
    """Complains of names that two trees share, and of one to be swapped whole that is none."""
    if both := sorted(set(sites) & set(logs)):
        reader.wrong(
            "E006", f"SITES and LOGS share the name {both[0]!r}.", "Give each tree a name of its own."
        )
    if unknown := sorted(set(swap_whole) - {*sites, *logs}):
        reader.wrong(
            "E014",
            f"{SETTING}['SWAP_WHOLE'] names {unknown[0]!r}, which neither SITES nor LOGS has.",
            f"Choose among: {', '.join((*sites, *logs)) or 'none'}.",
        )
