"""Select the backup from which each database and tree of a restore is read."""

from __future__ import annotations

from dataclasses import dataclass

from igny8_backup.errors import UsageError
from igny8_backup.formats.manifest import COMPLETE, DatabasePart, Manifest, TreePart
from igny8_backup.humanize import duration_in_words


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The databases and trees to restore, each with the manifest of its backup, and notes to show."""

    databases: tuple[tuple[Manifest, DatabasePart], ...]
    trees: tuple[tuple[Manifest, TreePart], ...]
    notes: tuple[str, ...] = ()


def select(
    manifests: list[Manifest],
    *,
    databases: tuple[str, ...],
    trees: tuple[str, ...],
    wanted: Manifest | None = None,
) -> Selection:
    """Select the backup for each of the requested ``databases`` and ``trees``.

    ``manifests`` are sorted newest first. With ``wanted``, everything comes from that backup. Otherwise the
    databases come from the newest backup that has all of them complete. Each tree comes from the same backup
    if possible, otherwise from the first one that started later, otherwise from the newest earlier one. In
    the last two cases a note says how far apart the backups are. Raises :class:`UsageError` if no backup has
    a requested database or tree.
    """
    pool = [wanted] if wanted else manifests
    if not pool:
        raise UsageError(
            "There is no backup that can be read.",
            hint="List the backups and the location that was searched: python manage.py list_backups.",
        )
    base = next((found for found in pool if all(_database(found, alias) for alias in databases)), None)
    if base is None:
        hint = "List the backups: python manage.py list_backups."
        raise _missing_part(wanted, f"of {', '.join(databases)}", hint)
    parts = tuple((base, part) for alias in databases if (part := _database(base, alias)))
    chosen: list[tuple[Manifest, TreePart]] = []
    notes = [
        f"Backup {item.id} is newer and has {alias!r} complete, but not all of {', '.join(databases)}. To"
        f" restore it: restore_all {item.id} --only {alias}."
        for item in pool[: pool.index(base)]
        for alias in databases
        if _database(item, alias)
    ][:5]
    for name in trees:
        found = _nearest([item for item in pool if _tree(item, name)], base if databases else None)
        tree = _tree(found, name) if found else None
        if found is None or tree is None:
            hint = "Choose another id from list_backups, or restore without it: restore_all --only db."
            raise _missing_part(wanted, f"of the tree {name!r}", hint)
        chosen.append((found, tree))
        if databases and found.id != base.id:
            apart = duration_in_words(abs(tree.started - base.started), units=2)
            when = "after" if tree.started > base.started else "BEFORE"
            notes.append(
                f"The files of {name!r} come from backup {found.id}, made {apart} {when} the database."
            )
    return Selection(databases=parts, trees=tuple(chosen), notes=tuple(notes))


def _missing_part(wanted: Manifest | None, what: str, hint: str) -> UsageError:
    subject = f"Backup {wanted.id} has no" if wanted else "No backup has a"
    return UsageError(f"{subject} complete copy {what}.", hint=hint)


def _nearest(fitting: list[Manifest], base: Manifest | None) -> Manifest | None:
    """Return the manifest in ``fitting`` that is nearest to ``base``, the backup of the databases.

    That is ``base`` itself, else the first one that started later, else the newest one. If ``base`` is
    ``None``, it is the newest one.
    """
    fitting = sorted(fitting, key=lambda item: item.started)
    if base is None:
        return fitting[-1] if fitting else None
    after = [item for item in fitting if item.started >= base.started]
    return after[0] if after else (fitting[-1] if fitting else None)


def _database(manifest: Manifest, alias: str) -> DatabasePart | None:
    found = (part for part in manifest.databases if part.alias == alias and part.state == COMPLETE)
    return next(found, None)


def _tree(manifest: Manifest, name: str) -> TreePart | None:
    return next((part for part in manifest.trees if part.name == name and part.state == COMPLETE), None)
