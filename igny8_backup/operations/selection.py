"""Which databases and trees an operation works on.

:func:`choose_databases` and :func:`choose_trees` serve backups; :func:`select_parts` serves restores.
"""

from __future__ import annotations

from collections.abc import Sequence

from igny8_backup.conf import Config
from igny8_backup.errors import RefusedError, UsageError
from igny8_backup.formats.manifest import COMPLETE, Manifest

ALL, DB, FILES = "all", "db", "files"
"""What ``--only`` accepts besides the name of a database or tree."""


def choose_databases(config: Config, aliases: tuple[str, ...]) -> tuple[str, ...]:
    """The given aliases without duplicates, or all that are configured. Raises :class:`UsageError` for an
    alias that is not configured."""
    return _choose(aliases, config.databases, "database") or config.databases


def choose_trees(config: Config, names: tuple[str, ...], *, logs: bool) -> tuple[str, ...]:
    """The given trees without duplicates, or all of ``SITES``; with ``logs`` also those of ``LOGS``.

    Raises :class:`UsageError` for an unknown name, and where no tree is configured.
    """
    chosen = _choose(names, (*config.sites, *config.logs), "tree") or tuple(config.sites)
    chosen = tuple(dict.fromkeys((*chosen, *config.logs))) if logs else chosen
    if not chosen:
        raise UsageError(
            "No tree is configured.",
            unchanged="Nothing was read or written.",
            hint="Name them: IGNY8_BACKUP['SITES'] = {'sites-data': '/data/app/sites-data'}.",
        )
    return chosen


def _choose(names: tuple[str, ...], known: tuple[str, ...], kind: str) -> tuple[str, ...]:
    for name in names:
        if name not in known:
            raise UsageError(
                f"There is no {kind} {name!r}.",
                unchanged="Nothing was read or written.",
                hint=f"Choose among: {', '.join(known) or 'none is configured'}.",
            )
    return tuple(dict.fromkeys(names))


def select_parts(
    config: Config, only: str, manifest: Manifest | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The databases and trees that ``--only`` stands for.

    With the ``manifest`` of a chosen backup, groups (all, db, files) are limited to its complete parts.
    Raises :class:`UsageError` for an unknown name.
    """
    aliases, sites = config.databases, tuple(config.sites)
    if manifest is not None:
        databases, trees = _complete_parts(manifest)
        aliases = tuple(alias for alias in aliases if alias in databases)
        sites = tuple(name for name in sites if name in trees)
    if only == ALL:
        return aliases, sites
    if only == DB:
        return aliases, ()
    if only == FILES:
        return (), sites
    if only in config.databases:
        return (only,), ()
    if only in config.sites or only in config.logs:
        return (), (only,)
    names = (*config.databases, *config.sites, *config.logs)
    raise UsageError(
        f"There is no database or tree {only!r}.",
        unchanged="Nothing was changed.",
        hint=f"Give --only db, files, or one of: {', '.join(names)}.",
    )


def missing_part_notes(config: Config, only: str, manifest: Manifest | None) -> list[str]:
    """A note for each configured part that the group ``only`` covers and the chosen backup lacks."""
    if manifest is None or only not in (ALL, DB, FILES):
        return []
    databases, trees = _complete_parts(manifest)
    missing = [alias for alias in config.databases if only != FILES and alias not in databases]
    missing += [name for name in config.sites if only != DB and name not in trees]
    return [
        f"Backup {manifest.id} has no complete copy of {name!r}, which is therefore not restored."
        for name in missing
    ]


def _complete_parts(manifest: Manifest) -> tuple[set[str], set[str]]:
    databases = {part.alias for part in manifest.databases if part.state == COMPLETE}
    return databases, {part.name for part in manifest.trees if part.state == COMPLETE}


def require_none(blockers: Sequence[str]) -> None:
    """Raise :class:`RefusedError` listing the ``blockers`` of a plan, if there are any."""
    if blockers:
        listed = "\n".join(f"  - {text}" for text in blockers)
        raise RefusedError(
            f"This backup cannot be restored here:\n{listed}\n",
            unchanged="Nothing was changed.",
            hint="Fix the problems listed above, then run the command again.",
        )
