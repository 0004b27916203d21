"""Select the copies of databases and trees that a restore or an extraction reads."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from igny8_backup.catalog.backups import Entry
from igny8_backup.catalog.given import Given
from igny8_backup.catalog.select import Selection, select
from igny8_backup.errors import StorageError, UsageError
from igny8_backup.formats.documents.annotations import UNREADABLE
from igny8_backup.formats.manifest import Manifest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.fleet_members import find_fleet, read_members
from igny8_backup.operations.history.read import History, read_history
from igny8_backup.operations.read.snapshot import read_current, read_until_settled
from igny8_backup.standing import DAMAGED, CopyStanding, Standings

NOTES = 5
"""The largest number of notes on unreadable backups."""


def read_given(
    context: BackupContext, backup_id: str, *, from_host: str = "", other_hosts: bool = False
) -> Given | None:
    """Read the manifest of the backup that the user named; ``None`` if ``backup_id`` is empty.

    If ``backup_id`` is that of a fleet backup, the manifests of its parts are read: the files of this host,
    or of ``from_host`` if given, and the databases of any host. With ``other_hosts``, its notes say where
    else the fleet backup is to be restored. Raises ``UsageError`` if the id is unknown, ``IntegrityError`` if
    a manifest is damaged.
    """
    if not backup_id:
        return None
    try:
        return Given.one(read_current(context, backup_id))
    except UsageError:
        if fleet := find_fleet(context, backup_id):
            host = from_host or context.config.host
            return read_members(context, fleet, host=host, others=other_hosts)
        raise


def select_copies(
    context: BackupContext,
    given: Given | None,
    *,
    databases: tuple[str, ...],
    trees: tuple[str, ...],
    from_host: str = "",
) -> Selection:
    """Select the copies that a restore reads.

    The ``trees`` are those of this host, or of ``from_host`` if given. ``given`` is the backup that
    ``read_given`` has read. Its copies are selected even if they cannot be relied on, with a note that says
    so.

    Manifests may be kept in ``STATE_DIR``. Those of the selected copies are read from the storage. If one has
    changed, everything is read anew, and the copies are selected again.

    Raises the errors of :func:`~igny8_backup.catalog.select.select`, and ``StorageError``.
    """

    def choose(pool: list[Manifest], standings: Standings | None) -> Selection:
        return select(
            pool,
            databases=databases,
            trees=trees,
            host=context.config.host,
            from_host=from_host,
            wanted=given,
            standings=standings,
        )

    def read(snapshot: BackupContext) -> tuple[Selection, list[Entry]]:
        history = read_history(snapshot)
        found = choose(history.manifests, _without_spared_damage(context, history))
        ids = {manifest.id for manifest, _ in (*found.databases, *found.trees)}
        notes = (*found.notes, *_unreadable_notes(history.entries, ids))
        return replace(found, notes=notes), [entry for entry in history.entries if entry.id in ids]

    if given is None:
        return read_until_settled(context, read)[1]
    try:
        standings = _without_spared_damage(context, read_history(context))
    except StorageError as error:
        standings = None
        context.progress.note(
            f"It is not known whether backup {given.id} can be relied on, because the storage could not be"
            f" read completely. {error}"
        )
    found = choose(list(given.manifests), standings)
    return replace(found, notes=(*given.notes, *found.notes))


def _unreadable_notes(entries: list[Entry], selected: set[str]) -> list[str]:
    """Return a note on each unreadable backup that is newer than one of those that were ``selected``."""
    oldest = min((entry.started for entry in entries if entry.id in selected), default=None)
    return [
        f"Backup {entry.id} is newer, but it is not used, because its manifest cannot be read. To find out"
        f" why: verify_backup {entry.id}."
        for entry in entries
        if entry.manifest is None and oldest and entry.started > oldest
    ][:NOTES]


def _without_spared_damage(context: BackupContext, history: History) -> Standings:
    """Return which copies can be relied on (their standings), ignoring damage that a restore can avoid.

    Damage of a copy is ignored if a restore can read all damaged objects of the copy from another storage.
    """
    if not context.spares.openers:
        return history.standings
    objects = {item.key: item for manifest in history.manifests for item in manifest.objects()}

    @cache
    def spared(key: str) -> bool:
        return key in objects and context.spares.has(objects[key])

    def judged(copy: CopyStanding) -> CopyStanding:
        if not copy.damage or not all(d.kind != UNREADABLE and spared(d.key) for d in copy.damage):
            return copy
        return replace(copy, damage=(), unfit=tuple(one for one in copy.unfit if one.kind != DAMAGED))

    return Standings(tuple(map(judged, history.standings.copies)))
