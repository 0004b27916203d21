"""Choose the databases and trees that an operation works on.

:func:`choose_databases` and :func:`choose_trees` are for backups, :func:`select_parts` for restores and
extractions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from igny8_backup.catalog.given import Given
from igny8_backup.common.humanize import one_line
from igny8_backup.conf import SETTING, Config
from igny8_backup.databases.values import VulnerableProgram
from igny8_backup.errors import RefusedError, UsageError
from igny8_backup.formats.manifest import COMPLETE
from igny8_backup.streams.age import Identity

ALL, DB, FILES = "all", "db", "files"
"""Values of ``--only`` besides the name of a database or tree."""


def choose_databases(config: Config, aliases: tuple[str, ...]) -> tuple[str, ...]:
    """Return ``aliases`` without duplicates; if there are none, all databases in the settings.

    Raises :class:`UsageError` if an alias is not in the settings.
    """
    return _choose(aliases, config.databases, "database") or config.databases


def choose_trees(config: Config, names: tuple[str, ...], *, logs: bool) -> tuple[str, ...]:
    """Return ``names`` without duplicates; if there are none, all trees in ``SITES``.

    ``logs`` adds all trees in ``LOGS``. Raises :class:`UsageError` if a name is not in the settings, or if
    the result would be empty.
    """
    chosen = _choose(names, (*config.sites, *config.logs), "tree") or tuple(config.sites)
    chosen = tuple(dict.fromkeys((*chosen, *config.logs))) if logs else chosen
    if not chosen:
        hint = "Name them: IGNY8_BACKUP['SITES'] = {'sites-data': '/data/app/sites-data'}."
        raise UsageError("No tree is configured.", unchanged="Nothing was read or written.", hint=hint)
    return chosen


def _choose(names: tuple[str, ...], configured: tuple[str, ...], kind: str) -> tuple[str, ...]:
    for name in names:
        if name not in configured:
            what = f"There is no {kind} {name!r}."
            hint = f"Choose among: {', '.join(configured)}." if configured else f"Add it to {SETTING} first."
            raise UsageError(what, unchanged="Nothing was read or written.", hint=hint)
    return tuple(dict.fromkeys(names))


def select_parts(config: Config, only: str, given: Given | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the aliases of the databases and the names of the trees that the option ``--only`` chooses.

    If ``only`` is ``all``, ``db`` or ``files`` and a backup is ``given``, only parts that are complete in
    that backup are returned. Raises :class:`UsageError` if ``only`` is an unknown name.
    """
    if only in (ALL, DB, FILES):
        aliases = () if only == FILES else config.databases
        sites = () if only == DB else tuple(config.sites)
        if given is None:
            return aliases, sites
        parts = [part for manifest in given.manifests for part in manifest.parts]
        complete = {(part.kind, part.name) for part in parts if part.state == COMPLETE}
        databases = tuple(alias for alias in aliases if ("database", alias) in complete)
        return databases, tuple(name for name in sites if ("files", name) in complete)
    if only in config.databases:
        return (only,), ()
    if only in config.sites or only in config.logs:
        return (), (only,)
    names = (*config.databases, *config.sites, *config.logs)
    hint = f"Give --only db, files, or one of: {', '.join(names)}."
    raise UsageError(f"There is no database or tree {only!r}.", hint=hint)


def missing_part_notes(config: Config, only: str, given: Given | None) -> list[str]:
    """Return a note for each database and tree that ``only`` chooses, but that the backup does not contain.

    Returns no notes if no backup is ``given``, or if ``only`` is the name of a database or tree.
    """
    if given is None or only not in (ALL, DB, FILES):
        return []
    aliases, sites = select_parts(config, only, None)
    found_aliases, found_sites = select_parts(config, only, given)
    missing = [name for name in aliases if name not in found_aliases]
    missing += [name for name in sites if name not in found_sites]
    return [
        f"{given.name} has no complete copy of {name!r}, which is therefore not restored." for name in missing
    ]


@dataclass(frozen=True, kw_only=True)
class BaseRequest:
    """The options that requests to restore and requests to extract share.

    ``backup_id``: if empty, the newest copies that can be relied on are taken. ``only``: ``all``, ``db``,
    ``files``, the alias of a database or the name of a tree; logs are restored only by name. ``from_host``:
    the host whose files are taken; if empty, the host in the settings. ``keep_personal_data``: while DEBUG is
    on, allow restoring a production backup without sanitizing it.
    """

    backup_id: str = ""
    only: str = ALL
    from_host: str = ""
    identity_file: Path | None = None
    keep_personal_data: bool = False


@dataclass(frozen=True, kw_only=True)
class BasePlan:
    """The fields that plans of restores and plans of extractions share.

    ``notes`` are shown to the user before confirming; ``blockers`` are reasons why the plan cannot be carried
    out. ``identities`` are the age keys that decrypt the backup. ``vulnerable`` are programs with known
    security holes, whose use the user must confirm.
    """

    created: datetime
    notes: tuple[str, ...]
    blockers: tuple[str, ...]
    identities: tuple[Identity, ...]
    vulnerable: tuple[VulnerableProgram, ...] = ()

    def require_feasible(self) -> None:
        """Raise ``RefusedError`` if there are ``blockers``: reasons why the plan cannot be carried out."""
        require_none(self.blockers)


def require_none(blockers: Sequence[str]) -> None:
    """Raise :class:`RefusedError`, which lists the ``blockers`` of a plan, if there are any."""
    if blockers:
        listed = "\n".join(f"  - {one_line(text)}" for text in blockers)
        what = f"This backup cannot be restored here:\n{listed}\n"
        hint = "Fix the problems listed above, then run the command again."
        raise RefusedError(what, unchanged="Nothing was changed.", hint=hint)
