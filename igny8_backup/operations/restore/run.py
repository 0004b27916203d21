"""Restore databases and trees: build staging copies of all and check them, then swap them with the live data.

:class:`RestoreSession` is the entry point. Nothing live is changed before the swap. The journal records
every step before it is taken, so that the next run can complete or undo an interrupted restore.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from igny8_backup.errors import BackupError, LockedError, UnfinishedError
from igny8_backup.journal import PREPARING, READY, UNDONE, Journal
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.restore import hooks
from igny8_backup.operations.restore.decision import is_decided
from igny8_backup.operations.restore.planning.plan import RestorePlan, RestoreRequest
from igny8_backup.operations.restore.planning.planner import plan_restore
from igny8_backup.operations.restore.prepare import build_staging, new_journal
from igny8_backup.operations.restore.restored_record import record_restored
from igny8_backup.operations.restore.swaps import complete_swap, remove_staging, swap_all
from igny8_backup.operations.restore.workers import ensure_workers_stopped, purge
from igny8_backup.operations.staging.live_state import unchanged_live
from igny8_backup.operations.staging.project_code import sandbox
from igny8_backup.signals import RESTORE, UNDO, announced

Gate = Callable[[Journal], Journal]
"""A function that is called when all is ready for the swap. It returns the journal to continue with."""


@dataclass(frozen=True, kw_only=True)
class RestoreResult:
    """The result of a restore.

    ``journal`` has the names of the databases and folders with the previous data. ``warnings`` are problems
    that arose after everything was restored. ``resumed``: this run has only completed an interrupted restore
    or undo. ``stopped`` are the names of the workers that were stopped. ``purged`` is the number of discarded
    tasks; None if the queues were not purged.
    """

    journal: Journal
    warnings: tuple[str, ...] = ()
    resumed: bool = False
    stopped: tuple[str, ...] = ()
    purged: int | None = None


class RestoreSession:
    """One restore in three steps: complete or clean up an interrupted restore, plan, execute.

    Example::

        session = RestoreSession(context)
        result = session.settle()
        if result is None:
            plan = session.plan(RestoreRequest(only="db"))
            result = session.execute(plan)

    With ``dry_run`` only :meth:`plan` may be called. Otherwise the constructor waits until no other run holds
    the locks, so that the plan includes the changes of the other run. After ``context.wait`` seconds it
    raises ``LockedError``. If ``context.wait`` is 0, the constructor does not look at the locks.
    """

    def __init__(self, context: BackupContext, *, dry_run: bool = False) -> None:
        self._context = context if dry_run else context.when_free("a restore")

    def settle(self) -> RestoreResult | None:
        """Complete or clean up an interrupted restore or undo.

        If a run was interrupted during its swap, this completes the swap and returns the result. If the run
        had not changed anything live, this removes the staging databases and folders of the run and returns
        None. If no run was interrupted, this returns None. Raises ``RefusedError`` if a restore waits for the
        other hosts of a fleet restore.
        """
        journal = self._context.journals.unfinished()
        if journal is None:
            return None
        with self._locked(journal):
            return self._settle()

    def plan(self, request: RestoreRequest) -> RestorePlan:
        """Return the plan. Nothing is changed. Raises the errors of ``planner.plan_restore``."""
        return plan_restore(self._context, request)

    def execute(self, plan: RestorePlan, before_swap: Gate | None = None) -> RestoreResult:
        """Carry out the plan. ``before_swap`` is called when all is ready for the swap, and may stop it.

        A run that was interrupted since :meth:`settle` was called is settled first. If settling completes the
        swap of that run, its result is returned, and ``plan`` is not carried out. After a failure before the
        swap, the staging databases and folders are removed. Raises ``UnfinishedError`` if the swap has begun
        and could not be completed.
        """
        context = self._context
        with context.locked("a restore"):
            if settled := self._settle():
                return settled
            plan.require_feasible()
            with hooks.before_restore(context, plan.backup_ids):
                journal, stopped = self._build(plan, before_swap)
                with announced(RESTORE, "swap", plan.backup_ids):
                    # A decided fleet restore is completed by the next run if this one fails.
                    journal = swap_all(context, journal, resumed=bool(journal.fleet))
            # The queues are purged last: a restore that fails must not discard tasks.
            with hooks.incomplete_when_interrupted():
                purged, problems = purge(plan.policy, plan.workers)
        record_restored(context, journal)
        warnings = (*context.shortfalls.take_texts(), *problems, *self._after_swap(journal))
        return RestoreResult(journal=journal, warnings=warnings, stopped=stopped, purged=purged)

    @contextmanager
    def _locked(self, journal: Journal) -> Iterator[None]:
        """Hold the locks to settle ``journal``, if need be with its coordinator."""
        with ExitStack() as stack:
            try:
                stack.enter_context(self._context.locked("a restore"))
            except LockedError:
                if not journal.fleet:
                    raise
                shared = replace(self._context, fleet=journal.fleet)
                stack.enter_context(shared.locked("a restore"))
            yield

    def _settle(self) -> RestoreResult | None:
        context = self._context
        interrupted = context.journals.unfinished()
        if interrupted is None:
            return None
        decided = interrupted.phase == READY and is_decided(context, interrupted)
        if decided or interrupted.phase not in (PREPARING, READY):
            journal = complete_swap(context, interrupted)
            record_restored(context, journal)
            return RestoreResult(journal=journal, warnings=self._after_swap(journal), resumed=True)
        context.progress.note(
            f"The restore that began {interrupted.started:%Y-%m-%d %H:%M:%S} UTC was interrupted before it"
            " changed anything live. Removing its staging databases and folders."
        )
        remove_staging(context, interrupted)
        return None

    def _build(self, plan: RestorePlan, before_swap: Gate | None) -> tuple[Journal, tuple[str, ...]]:
        """Stop the workers, build the staging databases and trees, and call ``before_swap``.

        Returns the journal, which is ready for the swap, and the names of the stopped workers.
        """
        context = self._context
        stopped = ensure_workers_stopped(context, plan.policy, live=plan.replaces_data)
        journal = new_journal(context, plan)
        try:
            context.journals.write(journal)
            aliases = [item.part.alias for item in plan.databases]
            with announced(RESTORE, "prepare", plan.backup_ids), unchanged_live(context, aliases):
                journal = build_staging(context, plan, journal)
            # A supervisor may have started the workers again meanwhile.
            stopped = tuple(
                dict.fromkeys(
                    (*stopped, *ensure_workers_stopped(context, plan.policy, live=plan.replaces_data))
                )
            )
            if before_swap:
                journal = before_swap(journal)
        except UnfinishedError:
            raise  # the staging databases and folders wait for a decision
        except BaseException as error:
            if isinstance(error, BackupError):
                error.add_context("Nothing live was changed.")
            self._remove_staging(journal)
            if stopped:
                context.progress.note("Workers were stopped and nothing was restored: start them again.")
            raise
        return journal, stopped

    def _remove_staging(self, journal: Journal) -> None:
        """Remove the staging databases and folders after a failure.

        An error of the removal is only noted, so that it does not hide the error of the restore.
        """
        try:
            remove_staging(self._context, journal)
        except BackupError as error:
            self._context.progress.note(
                "The staging databases and folders could not be removed. The next restore_all will remove"
                f" them. {error}"
            )

    def _after_swap(self, journal: Journal) -> tuple[str, ...]:
        """Check the live databases and, if the application can use them, run ``AFTER_RESTORE``.

        After an undo, ``AFTER_RESTORE`` is run without the check. Returns warnings.
        """
        context = self._context
        with hooks.incomplete_when_interrupted():
            if journal.phase == UNDONE:
                return hooks.after_restore(context, journal.backup_ids, operation=UNDO)
            warnings = _check_live(journal)
            if not warnings:
                return hooks.after_restore(context, journal.backup_ids)
        return (*warnings, "AFTER_RESTORE was not run.") if context.config.after_restore else warnings


def _check_live(journal: Journal) -> tuple[str, ...]:
    """Check that the application can use the live databases; return warnings.

    A failure is only a warning: everything is restored, and ``undo_restore`` can undo the restore.
    """
    aliases = [swap.alias for swap in journal.databases if swap.details.migrations]
    if not aliases:
        return ()
    try:
        with announced(RESTORE, "check", journal.backup_ids):
            sandbox.check(aliases)
    except BackupError as error:
        return (f"{error} To undo the restore: python manage.py undo_restore.",)
    return ()
