"""Read and check the keys about trees of files, such as SITES, LOGS and EXCLUDE."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from igny8_backup.conf.model import SETTING, Config
from igny8_backup.conf.parser import Reader
from igny8_backup.formats import keys
from igny8_backup.trees.scan import excludes


def read_trees(reader: Reader, key: str) -> dict[str, Path]:
    """Return the trees under ``key`` (``SITES`` or ``LOGS``): the absolute path of each by its name."""
    trees: dict[str, Path] = {}
    for name, found in reader.take(key, dict, {}).items():
        if not (isinstance(name, str) and keys.is_name(name)):
            reader.wrong(
                "E006",
                f"{SETTING}[{key!r}] has the name {name!r}, which is not allowed.",
                "Use at most 63 letters, digits, - and _.",
            )
        elif path := reader.path(f"{SETTING}[{key!r}][{name!r}]", found):
            trees[name] = path
    return trees


def read_patterns(reader: Reader) -> dict[str, tuple[str, ...]]:
    """Return, for the name of each tree, its exclude patterns."""
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


def read_cache_trees(reader: Reader, trees: Collection[str]) -> tuple[str, ...]:
    """Return the names of the trees whose caches are excluded: ``EXCLUDE_CACHES``.

    ``True`` stands for all of ``trees``. By default no caches are excluded, because users of the application
    could make folders that look like caches by their names and tags.
    """
    found = reader.take("EXCLUDE_CACHES", (bool, list, tuple), ())
    if isinstance(found, bool):
        return tuple(trees) if found else ()
    if not all(isinstance(name, str) for name in found):
        reader.wrong(
            "E018",
            f"{SETTING}['EXCLUDE_CACHES'] is not a list of names.",
            'Write ["builds"], with names in SITES or LOGS; True stands for all trees.',
        )
        return ()
    return tuple(found)


def check_trees(reader: Reader, config: Config) -> None:
    """Record a problem if SITES and LOGS share a name, or if another key names an unknown tree.

    A tree is unknown if neither SITES nor LOGS has its name. For each key, only the first unknown name is
    reported.
    """
    trees = (*config.sites, *config.logs)
    if both := sorted(set(config.sites) & set(config.logs)):
        reader.wrong(
            "E006", f"SITES and LOGS share the name {both[0]!r}.", "Give each tree a different name."
        )
    for key, number, names in (
        ("SWAP_WHOLE", "E014", config.swap_whole),
        ("EXCLUDE", "E018", config.exclude),
        ("EXCLUDE_CACHES", "E018", config.exclude_caches),
        ("CHUNKED_TREES", "E046", config.chunked_trees),
    ):
        if unknown := sorted(set(names).difference(trees)):
            reader.wrong(
                number,
                f"{SETTING}[{key!r}] names {unknown[0]!r}, which neither SITES nor LOGS has.",
                f"Choose among: {', '.join(trees) or 'none'}.",
            )
