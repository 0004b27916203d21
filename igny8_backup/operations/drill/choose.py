"""Choose what a drill restores: one backup, or the newest copy of each database and tree."""

from __future__ import annotations

from igny8_backup.catalog.checked import part_keys
from igny8_backup.errors import RefusedError, UsageError
from igny8_backup.formats.documents.annotations import CheckedPart
from igny8_backup.formats.manifest import COMPLETE, Manifest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.fleet_members import read_one
from igny8_backup.operations.history.newest_copies import Choice, expected_manifests, newest_copies
from igny8_backup.operations.history.read import History, read_history
from igny8_backup.operations.verify.run import newest_backup
from igny8_backup.retention.policy import Part
from igny8_backup.standing import SAFETY


def choose(context: BackupContext, backup_id: str) -> tuple[list[Choice], tuple[str, ...]]:
    """Choose the backups to restore, and the databases and trees to restore from each.

    With ``backup_id``, all complete databases and trees of that backup are chosen. Without it, the first
    choice is the newest complete backup in which all copies can be relied on. A database or tree that this
    backup lacks is chosen from the backup with its newest reliable copy. Notes say why newer copies are not
    chosen.

    The second value describes the databases and trees that are left out. Raises ``UsageError`` if there is no
    backup, or nothing in it that could be restored; ``RefusedError`` if no copy can be relied on;
    ``StorageError``.
    """
    if backup_id:
        manifest = read_one(context, backup_id, command="drill_backup")
        parts = tuple(part_keys(manifest))
        if not parts:
            raise UsageError(
                f"Backup {backup_id} has no complete database or tree, so nothing could be restored.",
                hint="Choose another backup: list_backups.",
            )
        return [Choice(manifest=manifest, parts=parts)], _incomplete(manifest)
    newest = newest_backup(context)
    history, runs = read_history(context), context.catalog.runs()
    manifests, _ = expected_manifests(context, history.entries, runs, history.now)
    usable = [item for item in manifests if _fit_parts(item, history)]
    if not usable:
        raise _nothing_usable(newest, history)
    whole = (item for item in usable if item.complete and len(_fit_parts(item, history)) == len(item.parts))
    first = next(whole, usable[0])
    chosen = newest_copies(usable, context.config, lambda item: _fit_parts(item, history), first=first)
    covered = {f"{item.kind} {item.name} of {one.manifest.host}" for one in chosen for item in one.parts}
    # Parts without a reliable copy are left out, and parts of the first backup without a complete one.
    wanted = newest_copies(manifests, context.config)
    missed = [f"{item.kind} {item.name} of {one.manifest.host}" for one in wanted for item in one.parts]
    left_out = dict.fromkeys(part for part in (*missed, *_incomplete(first)) if part not in covered)
    _note_unfit(context, history, chosen)
    return _restorable(context, chosen), tuple(left_out)


def _fit_parts(manifest: Manifest, history: History) -> list[CheckedPart]:
    """Return the databases and trees that are complete in a backup and can be relied on."""
    fit = {copy.part for copy in history.standings.of_backup(manifest.id) if copy.fit}
    return [
        item
        for item in part_keys(manifest)
        if Part(host=manifest.host, kind=item.kind, name=item.name) in fit
    ]


def _note_unfit(context: BackupContext, history: History, chosen: list[Choice]) -> None:
    """Show a note for each unreliable copy that is newer than the chosen copy of the same part."""
    started = {
        Part(host=one.manifest.host, kind=item.kind, name=item.name): one.manifest.started
        for one in chosen
        for item in one.parts
    }
    for copy in history.standings.copies:
        newer = copy.part in started and started[copy.part] < copy.started
        if newer and not copy.fit and not copy.is_unfit(SAFETY):
            context.progress.note(
                f"The drill restores an older copy of {copy.part.name!r}, because the copy in backup"
                f" {copy.backup_id} is {copy.why}. To test that backup anyway:"
                f" drill_backup {copy.backup_id}."
            )


def _nothing_usable(newest: str, history: History) -> RefusedError | UsageError:
    unfit = [copy for copy in history.standings.copies if not copy.fit and not copy.is_unfit(SAFETY)]
    if not unfit:
        return UsageError(
            f"No backup has a complete database or tree that a drill could restore. The newest is {newest}.",
            hint="Create one: python manage.py backup_all.",
        )
    last = unfit[-1]
    return RefusedError(
        "The drill found no copy to restore that can be relied on. For example, the copy of"
        f" {last.part.name!r} in backup {last.backup_id} is {last.why}.",
        unchanged="Nothing was created.",
        hint=f"To test that backup anyway, give its id: drill_backup {last.backup_id}.",
    )


def _restorable(context: BackupContext, chosen: list[Choice]) -> list[Choice]:
    """Return ``chosen`` without the databases that the settings do not name. A note names each of them.

    No database of the first backup in ``chosen`` is left out.
    """
    found = chosen[:1]
    for choice in chosen[1:]:
        parts = []
        for item in choice.parts:
            if item.kind == "database" and item.name not in context.config.databases:
                context.progress.note(
                    f"The drill leaves out the database {item.name!r} of {choice.manifest.host}, because the"
                    " settings here name no such database."
                )
            else:
                parts.append(item)
        if parts:
            found.append(Choice(manifest=choice.manifest, parts=tuple(parts)))
    return found


def _incomplete(manifest: Manifest) -> tuple[str, ...]:
    lacking = (part for part in manifest.parts if part.state != COMPLETE)
    return tuple(f"{part.kind} {part.name} of {manifest.host}" for part in lacking)
