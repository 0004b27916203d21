"""Compute what the pages about one backup and about one run show."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from igny8_backup.common.humanize import age_in_words, count_in_words, size_in_words, time_taken
from igny8_backup.formats.documents.status import Status, StatusBackup, StatusCheck, StatusCopy, StatusRun
from igny8_backup.formats.manifest import COMPLETE, RUNNING
from igny8_backup.web.failures import failure_of_error, failure_of_run
from igny8_backup.web.overview import run_row, utc
from igny8_backup.web.series import failed_names


def find_backup(status: Status | None, backup_id: str) -> StatusBackup | None:
    """Return the backup of this id from the status document; None if there is none."""
    return next((item for item in status.backups if item.id == backup_id), None) if status else None


def find_run(status: Status | None, run_id: str) -> StatusRun | None:
    """Return the run of this id from the status document; None if there is none."""
    return next((item for item in status.runs if item.id == run_id), None) if status else None


def backup_facts(status: Status, backup: StatusBackup, now: datetime) -> dict[str, Any]:
    """Return the variables of the template about one backup."""
    run = find_run(status, backup.id)
    return {
        "backup": backup,
        "when": utc(backup.started),
        "age": age_in_words(backup.started, now),
        "took": time_taken(_span(backup)) if backup.finished else "",
        "size": size_in_words(backup.stored_bytes),
        "objects": count_in_words(backup.objects, "object"),
        "copies": [_copy_row(copy) for copy in backup.copies],
        "checks": [_check_row(check) for check in backup.checks],
        "kept": _kept(backup),
        "run": run_row(run, status) if run else None,
        "restore": f"python manage.py restore_all {backup.id}",
        "extract": f"python manage.py extract_backup {backup.id}",
        "show": f"python manage.py show_backup {backup.id}",
        "identity": " --identity FILE" if backup.encrypted else "",
    }


def run_facts(status: Status, run: StatusRun) -> dict[str, Any]:
    """Return the variables of the template about one run."""
    backup = find_backup(status, run.id)
    failed = failed_names(run, made=backup is not None)
    return {
        "run": run,
        "row": run_row(run, status),
        "failure": failure_of_run(run),
        "headline": _headline(run, failed),
        "errors": [
            {"name": name, "kind": kind, "failure": failure_of_error(kind)}
            for name, kind in sorted(run.errors.items())
        ],
        "failed": ", ".join(failed),
        "done": ", ".join(copy.name for copy in backup.copies if copy.state == COMPLETE) if backup else "",
        "backup": backup,
    }


def _headline(run: StatusRun, failed: Sequence[str]) -> str:
    if run.outcome in (COMPLETE, RUNNING):
        return f"The run is {run.outcome}."
    return f"Not backed up: {', '.join(failed)}." if failed else failure_of_run(run).what


def _span(backup: StatusBackup) -> timedelta:
    return (backup.finished or backup.started) - backup.started


def _copy_row(copy: StatusCopy) -> dict[str, Any]:
    return {
        "name": f"{copy.kind} {copy.name}",
        "good": copy.state == COMPLETE and not copy.unfit,
        "state": copy.unfit or copy.state,
        "error": failure_of_error(copy.error).what if copy.error else "",
        "size": size_in_words(copy.bytes),
        "stored": size_in_words(copy.stored_bytes),
        "added": size_in_words(copy.added_bytes),
        "files": "" if copy.files is None else str(copy.files),
        "skipped": copy.skipped or 0,
        "excluded": copy.excluded or 0,
        "codecs": ", then ".join(copy.codecs),
        "as_of": utc(copy.as_of),
        "reasons": copy.reasons,
    }


def _check_row(check: StatusCheck) -> dict[str, Any]:
    return {
        "depth": _DEPTHS.get(check.depth, check.depth),
        "when": utc(check.started),
        "read": f"{check.read} of {count_in_words(check.objects, 'object')}",
        "good": not check.damaged,
        "result": f"{check.damaged} damaged" if check.damaged else "no damage",
    }


_DEPTHS = {
    "stored": "verified: the stored bytes were compared",
    "content": "verified: the contents were read",
    "drill": "drilled: the backup was restored",
}


def _kept(backup: StatusBackup) -> list[str]:
    reasons = [*backup.reasons]
    for copy in backup.copies:
        if copy.reasons:
            reasons.append(f"{copy.kind} {copy.name}: {', '.join(copy.reasons)}")
    return reasons
