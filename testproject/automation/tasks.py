"""Celery tasks of the project, for workers that run during backups."""

from __future__ import annotations

from datetime import UTC, datetime

from celery import shared_task

from automation.models import Run


@shared_task
def finish_run(run_id: int) -> None:
    """Mark a queued run as done."""
    now = datetime.now(UTC)
    Run.objects.filter(id=run_id, state=Run.State.QUEUED).update(state=Run.State.DONE, finished_at=now)
