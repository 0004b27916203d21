"""Describe the plan of one host of a fleet restore, for the coordinator."""

from __future__ import annotations

from igny8_backup.common.humanize import one_line
from igny8_backup.formats.documents.fleet_restore import Replaced
from igny8_backup.operations.restore.planning.plan import RestorePlan
from igny8_backup.operations.undo.copies import DATABASE
from igny8_backup.operations.undo.plan import UndoPlan


def restored_parts(plan: RestorePlan) -> tuple[Replaced, ...]:
    """Return the databases and trees that a restore replaces."""
    databases = [
        Replaced(
            kind="database",
            name=item.part.alias,
            place=item.target.name,
            backup_id=item.backup_id,
            bytes=item.details.size,
            empty=item.target.empty,
        )
        for item in plan.databases
    ]
    trees = [
        Replaced(
            kind="files",
            name=item.part.name,
            backup_id=item.backup_id,
            bytes=item.part.bytes,
            empty=item.empty,
        )
        for item in plan.trees
    ]
    return (*databases, *trees)


def plan_blockers(plan: RestorePlan, *, allow_vulnerable: bool) -> tuple[str, ...]:
    """Return why the plan cannot be carried out.

    ``allow_vulnerable``: programs with known security holes may be used.
    """
    vulnerable = [
        f"{item.program} {item.version} has known security holes, and the backup is not signed: upgrade it,"
        " or give --allow-vulnerable-tools if you trust the storage."
        for item in plan.vulnerable
        if not allow_vulnerable
    ]
    return (*(one_line(text) for text in plan.blockers), *vulnerable)


def undone_parts(plan: UndoPlan) -> tuple[Replaced, ...]:
    """Return the databases and trees that an undo brings back."""
    return tuple(
        Replaced(
            kind=item.kind,
            name=item.name,
            place=item.place if item.kind == DATABASE else "",
            bytes=item.kept.bytes if item.kept else 0,
            empty=item.live is None or item.live.empty,
            vanishes=item.vanishes,
        )
        for item in plan.exchanges
    )
