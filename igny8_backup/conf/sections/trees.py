"""The keys that name trees of files."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from igny8_backup.conf.model import SETTING
from igny8_backup.conf.parser import Reader
from igny8_backup.formats import keys
from igny8_backup.trees.scan import excludes


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


def take_patterns(reader: Reader) -> dict[str, tuple[str, ...]]:
    """Name of a tree -> patterns of what stays out of its backups."""
    found: dict[Any, Any] = reader.take("EXCLUDE", dict, {})
    for name, patterns in found.items():
        if not isinstance(patterns, (list, tuple)) or not all(isinstance(one, str) for one in patterns):
            reader.wrong(
                "E018",
                f"{SETTING}['EXCLUDE'][{name!r}] is not a list of patterns.",
                'Write {"sites-data": ["*.tmp", "/drafts/"]}.',
            )
            return {}
        for pattern in patterns:
            if fault := excludes.problem(pattern):
                reader.wrong(
                    "E018",
                    f"{SETTING}['EXCLUDE'][{name!r}] has {pattern!r}: {fault}.",
                    'Correct the pattern or remove it: see EXCLUDE under "Settings" in the documentation.',
                )
    return {str(name): tuple(patterns) for name, patterns in found.items()}


def check_trees(
    reader: Reader,
    sites: Collection[str],
    logs: Collection[str],
    swap_whole: Collection[str],
    exclude: Collection[str],
) -> None:
    """Complains of names that two trees share, and where other keys name a tree that is none."""
    if both := sorted(set(sites) & set(logs)):
        reader.wrong(
            "E006", f"SITES and LOGS share the name {both[0]!r}.", "Give each tree a name of its own."
        )
    for key, number, names in (("SWAP_WHOLE", "E014", swap_whole), ("EXCLUDE", "E018", exclude)):
        if unknown := sorted(set(names) - {*sites, *logs}):
            reader.wrong(
                number,
                f"{SETTING}[{key!r}] names {unknown[0]!r}, which neither SITES nor LOGS has.",
                f"Choose among: {', '.join((*sites, *logs)) or 'none'}.",
            )
