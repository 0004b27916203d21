"""``restore_all --in-place``: replace the contents of a live database without creating another one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from igny8_backup.common.humanize import age_in_words, count_in_words, size_in_words
from igny8_backup.management.base import BackupCommand, accepted
from igny8_backup.management.confirm import confirm_database, confirm_purge, confirm_vulnerable
from igny8_backup.management.output import labelled
from igny8_backup.management.restore.options import refuse_options
from igny8_backup.operations.context import open_context
from igny8_backup.operations.restore.in_place import (
    InPlacePlan,
    InPlaceRequest,
    InPlaceResult,
    how_to_undo,
    plan_in_place,
    run_in_place,
)
from igny8_backup.operations.restore.workers import WorkersPolicy


def restore(command: BackupCommand, options: dict[str, Any], policy: WorkersPolicy) -> int:
    """Show the plan, ask, back up the live database and replace its contents; return the exit status.

    ``policy`` says what to do with Celery workers that are running.
    """
    _refuse_options(options)
    request = InPlaceRequest(
        backup_id=options["id"] or "",
        only=options["only"],
        from_host=options["from_host"] or "",
        identity_file=options["identity"],
        owners=not options["no_owner"],
        keep_personal_data=options["keep_personal_data"],
        workers=policy,
    )
    alias, wait = options["from_storage"], options["wait"]
    with (
        command.progress() as shown,
        open_context(
            progress=shown,
            storage_alias=alias,
            healing=True,
            wait=wait,
            accept=accepted(options),
            as_of=options["as_of"],
        ) as context,
    ):
        if not options["dry_run"]:
            context = context.when_free("a restore")
        plan = plan_in_place(context, request)
        if not command.show_plan(plan, _plan_lines(plan), _as_json(plan), dry_run=options["dry_run"]):
            return 0
        confirm_vulnerable(command, plan, options)
        confirm_database(command, options, plan.target.name)
        if plan.policy.purge:
            confirm_purge(command, options, plan.workers.waiting)
        with open_context(progress=shown, writing=True) as own:
            result = run_in_place(context, plan, own)
    command.show_json(result)
    return _show_result(command, plan, result)


def _refuse_options(options: dict[str, Any]) -> None:
    def refuse(*names: str, because: str) -> None:
        refuse_options(options, *names, because=f"cannot be combined with --in-place: {because}")

    refuse("--locale", "--assume-space", because="no database is created")
    refuse("--no-migrate", because="nothing is migrated")
    refuse("--allow-set-id", because="no file is restored")
    copy = "extract_backup --to-database NAME --sanitize makes a sanitized copy"
    refuse("--sanitize", because=f"the data would be live before it is sanitized. {copy}")


def _plan_lines(plan: InPlacePlan) -> Iterator[str]:
    target, part = plan.target, plan.part
    age = age_in_words(part.started, plan.created)
    yield "Plan: IN PLACE"
    yield (
        f"  database {part.alias}: from {plan.backup_id} ({age} old, {size_in_words(plan.details.size)})"
        f" into {target.where}, which holds {target.tables} tables, {size_in_words(target.size)}"
    )
    yield "  First the database is backed up. NOTHING BUT this backup can undo the restore."
    yield "  Then its contents are replaced in one transaction. The application waits meanwhile."
    yield from (f"  {labelled(note)}" for note in plan.notes)


def _show_result(command: BackupCommand, plan: InPlacePlan, result: InPlaceResult) -> int:
    command.say(f"Restored in place from {result.backup_id}.")
    command.say(*(f"  left out: {line}" for line in result.left_out))
    command.warn(*(f"WARNING: {warning}" for warning in result.warnings))
    if result.purged is not None:
        command.say(f"Discarded {count_in_words(result.purged, 'task')} from the queues.")
    command.say(
        "Next: start the application, its workers and beat again.",
        f"To undo the restore: {how_to_undo(plan.part.alias, result.saved)}",
        "To let retention remove the backup of the previous contents when all is well: pin_backup"
        f" {result.saved} --unpin",
    )
    return 3 if result.warnings else 0


def _as_json(plan: InPlacePlan) -> dict[str, Any]:
    shown = {"in_place": True, "backup": plan.backup_id, "part": plan.part, "target": plan.target}
    return {**shown, "notes": plan.notes, "obstacles": plan.blockers}
