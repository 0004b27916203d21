"""Select the backup from which each database and tree of a restore is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from igny8_backup.catalog.given import Given
from igny8_backup.catalog.other_hosts import other_host_error, other_host_notes
from igny8_backup.common.humanize import count_in_words, duration_in_words
from igny8_backup.errors import BackupError, IntegrityError, RefusedError, UsageError
from igny8_backup.formats.manifest import COMPLETE, Manifest
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.standing import FUTURE, UNTRUSTED, CopyStanding, Standings

_SHOWN = 5


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
    host: str,
    from_host: str = "",
    wanted: Given | None = None,
    standings: Standings | None = None,
) -> Selection:
    """Select the backup for each of the requested ``databases`` and ``trees``.

    ``manifests`` are sorted newest first. With ``wanted``, the backup that
    the user has named, everything comes from that one. Otherwise the
    databases come from the newest backup that has all of them complete. Each tree comes from the same backup
    if possible, otherwise from the first one that started later, otherwise from the newest earlier one. In
    the last two cases a note says how far apart the backups are.

    Trees come from backups of this ``host`` only, or of ``from_host`` if given: trees of two hosts may have
    the same name. Databases may be shared by several hosts, so they come from any; those of ``from_host`` are
    preferred. A note names each part of another host.

    ``standings`` says which copies are unfit (cannot be relied on). Unfit copies are not selected, and a note
    says why. With ``wanted`` they are selected, and a note warns of them.

    Raises :class:`UsageError` if no backup has a requested database or tree. If all its copies are damaged,
    raises :class:`IntegrityError`; if all are unfit for this or other reasons, :class:`RefusedError`.
    """
    taken = sorted(wanted.manifests, key=lambda item: item.id, reverse=True) if wanted else manifests
    pool = _Pool(taken, standings or Standings(), from_host or host, any_copy=wanted is not None)
    if not pool.manifests:
        raise UsageError(
            "There is no backup that can be read.",
            hint="List the backups and the location that was searched: python manage.py list_backups.",
        )
    base = pool.newest_with(databases, from_host)
    if base is None:
        hint = "List the backups: python manage.py list_backups."
        raise pool.none_is_fit(databases) or _missing_part(wanted, f"of {', '.join(databases)}", hint)
    parts = tuple((base, part) for alias in databases if (part := _database(base, alias)))
    # Files are chosen for the time of the data, which for a standby may be long before the backup.
    data_time = min([base.started, *(part.as_of for _, part in parts)])
    notes = pool.notes_on_databases(base, databases)
    chosen: list[tuple[Manifest, TreePart]] = []
    for name in trees:
        found = _nearest(pool.with_tree(name), data_time if databases else None)
        tree = _tree(found, name) if found else None
        if found is None or tree is None:
            other_hosts = [item.host for item in pool.manifests if _tree(item, name)]
            if other_hosts and pool.host not in other_hosts:
                raise other_host_error(wanted, name, other_hosts, host=host, searched=pool.host)
            hint = f"Choose another id from list_backups. Or leave {name!r} out: name the others with --only."
            raise pool.none_is_fit((name,)) or _missing_part(wanted, f"of the tree {name!r}", hint)
        chosen.append((found, tree))
        notes += pool.notes_on_tree(found, tree, data_time if databases else None)
        if databases and found.id != base.id and not (wanted and wanted.fleet):
            apart = duration_in_words(abs(tree.started - data_time), units=2)
            when = "after" if tree.started > data_time else "BEFORE"
            notes.append(
                f"The files of {name!r} come from backup {found.id}, made {apart} {when} the database."
            )
    notes += other_host_notes(host, parts, chosen)
    return Selection(databases=parts, trees=tuple(chosen), notes=tuple(dict.fromkeys(notes)))


@dataclass(frozen=True)
class _Pool:
    """The backups to select from, and the ``host`` whose trees are selected.

    ``any_copy``: the user has named the backup, so unfit copies are taken.
    """

    manifests: list[Manifest]
    standings: Standings
    host: str
    any_copy: bool

    def unfit(self, manifest: Manifest, part: DatabasePart | TreePart) -> CopyStanding | None:
        """Return why a copy cannot be relied on (its standing); ``None`` if it is fit."""
        found = self.standings.of_part(manifest, part)
        return found if found and not found.fit else None

    def usable(self, manifest: Manifest, part: DatabasePart | TreePart | None) -> bool:
        return part is not None and (self.any_copy or not self.unfit(manifest, part))

    def newest_with(self, aliases: Sequence[str], host: str) -> Manifest | None:
        """Return the newest backup with fit copies of all these databases, if possible one of ``host``."""
        fitting = [
            manifest
            for manifest in self.manifests
            if all(self.usable(manifest, _database(manifest, alias)) for alias in aliases)
        ]
        return next((item for item in fitting if item.host == host), next(iter(fitting), None))

    def with_tree(self, name: str) -> list[Manifest]:
        return [item for item in self.having(name) if self.usable(item, _tree(item, name))]

    def having(self, tree: str) -> list[Manifest]:
        """Return the backups of the host that have a complete copy of the tree, fit or unfit."""
        return [item for item in self.manifests if item.host == self.host and _tree(item, tree)]

    def notes_on_databases(self, base: Manifest, aliases: Sequence[str]) -> list[str]:
        """Return notes on unfit databases of ``base``, and on newer backups that were not selected."""
        notes = [self._warning(base, part) for alias in aliases if (part := _database(base, alias))]
        for manifest in self.manifests[: self.manifests.index(base)]:
            found = [part for alias in aliases if (part := _database(manifest, alias))]
            unfit = [_not_chosen(standing) for part in found if (standing := self.unfit(manifest, part))]
            notes += unfit
            if not unfit and len(found) < len(aliases):
                notes += [
                    f"Backup {manifest.id} is newer and has {part.alias!r} complete, but not all of"
                    f" {', '.join(aliases)}. To restore it: restore_all {manifest.id} --only {part.alias}."
                    for part in found
                ]
        return [note for note in notes if note][:_SHOWN]

    def notes_on_tree(self, chosen: Manifest, tree: TreePart, data_time: datetime | None) -> list[str]:
        """Return the note to show about the copy of ``tree`` in the backup ``chosen``, if there is one.

        It warns of an unfit copy, or says why a copy nearer to ``data_time`` was not selected.
        """
        first = _nearest(self.having(tree.name), data_time)
        part = _tree(first, tree.name) if first else None
        if first is None or part is None or first.id == chosen.id:
            warning = self._warning(chosen, tree)
            return [warning] if warning else []
        standing = self.unfit(first, part)
        return [_not_chosen(standing)] if standing else []

    def none_is_fit(self, names: Iterable[str]) -> BackupError | None:
        """Return the error which says that no copy of these parts is fit, and why.

        Returns ``None`` if no copy is unfit, or if the user has named the backup.
        """
        wanted = set(names)
        unfit = [
            standing
            for manifest in self.manifests
            for part in manifest.parts
            if part.name in wanted
            and (isinstance(part, DatabasePart) or manifest.host == self.host)
            and part.state == COMPLETE
            and (standing := self.unfit(manifest, part))
        ]
        if self.any_copy or not unfit:
            return None
        what = f"No copy of {', '.join(sorted(wanted))} can be relied on: {_listed(unfit)}."
        if all(item.damaged for item in unfit):
            hint = (
                "Copy the damaged objects back from another copy of the storage, and run verify_backup --all."
                f" To try a damaged backup anyway, give its id: {unfit[0].backup_id}. To leave this part out,"
                " name the others: --only."
            )
            return IntegrityError(what, unchanged="Nothing was changed.", hint=hint)
        if all(item.is_unfit(FUTURE) for item in unfit):
            hint = (
                "Check the clock of this machine (date -u) and restore again. If it is right, give the id of"
            )
            hint += f" the backup that you mean, for example {unfit[0].backup_id}."
            return RefusedError(what, unchanged="Nothing was changed.", hint=hint)
        first = min(unfit, key=lambda item: (item.damaged, not item.suspect))
        hint = f"If you know that one of them is right, give its id, for example {first.backup_id}"
        if first.suspect:
            hint += f'; or accept the copy: accept_backup {first.backup_id} --reason "..."'
        hint += "."
        if first.is_unfit(UNTRUSTED):
            hint += (
                " An untrusted one also needs --accept-foreign, or --accept-unsigned if no trusted key signed"
                " it."
            )
        hint += " To leave this part out, name the others: --only."
        return RefusedError(what, unchanged="Nothing was changed.", hint=hint)

    def _warning(self, manifest: Manifest, part: DatabasePart | TreePart) -> str:
        standing = self.unfit(manifest, part)
        if standing is None:
            return ""
        return f"WARNING: the copy of {part.name!r} in backup {manifest.id} is {standing.why}."


def _listed(unfit: Sequence[CopyStanding]) -> str:
    """Return which copies are unfit and why, as text. Copies with the same reasons are named together."""
    alike: dict[tuple[str, str], list[str]] = {}
    for item in unfit:
        alike.setdefault((item.part.name, item.why), []).append(item.backup_id)
    texts = []
    for (name, why), ids in alike.items():
        more = f" and {count_in_words(len(ids) - 1, 'earlier one')}" if len(ids) > 1 else ""
        texts.append(f"backup {ids[0]}{more}: {name!r}, {why}")
    left_out = sum(map(len, list(alike.values())[_SHOWN:]))
    return "; ".join(texts[:_SHOWN]) + (f"; and {left_out} more" if left_out else "")


def _not_chosen(standing: CopyStanding) -> str:
    return (
        f"Backup {standing.backup_id} is not used for {standing.part.name!r}, because its copy is"
        f" {standing.why}."
    )


def _missing_part(wanted: Given | None, what: str, hint: str) -> UsageError:
    subject = f"{wanted.name} has no" if wanted else "No backup has a"
    return UsageError(f"{subject} complete copy {what}.", hint=hint)


def _nearest(fitting: list[Manifest], data_time: datetime | None) -> Manifest | None:
    """Return the manifest in ``fitting`` that is nearest to ``data_time``, the time of the databases' data.

    That is the first one that started then or later, else the newest one. If ``data_time`` is ``None``, it is
    the newest one.
    """
    fitting = sorted(fitting, key=lambda item: item.started)
    after = [item for item in fitting if data_time and item.started >= data_time]
    return after[0] if after else (fitting[-1] if fitting else None)


def _database(manifest: Manifest, alias: str) -> DatabasePart | None:
    return next((part for part in manifest.databases if part.alias == alias and part.state == COMPLETE), None)


def _tree(manifest: Manifest, name: str) -> TreePart | None:
    return next((part for part in manifest.trees if part.name == name and part.state == COMPLETE), None)
