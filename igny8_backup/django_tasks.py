"""Register the work in ``jobs`` with Django's own tasks, which exist since Django 6.0.

Queues store the dotted paths of these functions, so the paths are public. ``jobs`` documents the arguments.
Import this module only where Django has tasks: see ``queues``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.tasks import TaskContext, task

from igny8_backup.jobs import backup, upkeep
from igny8_backup.queues.django_queue import task_options

Result = dict[str, Any]
Register = Callable[[Callable[..., Result | None]], Any]

_with_context: Register = task(takes_context=True, **task_options())
_without_context: Register = task(**task_options())


@_with_context
def backup_db(context: TaskContext[Any, Any], *aliases: str, **options: Any) -> Result | None:
    """Back up databases."""
    return backup.backup_db(context.task_result.id, *aliases, **options)


@_with_context
def backup_sites(context: TaskContext[Any, Any], *names: str, **options: Any) -> Result | None:
    """Back up trees."""
    return backup.backup_sites(context.task_result.id, *names, **options)


@_with_context
def backup_all(context: TaskContext[Any, Any], **options: Any) -> Result | None:
    """Back up all databases and trees."""
    return backup.backup_all(context.task_result.id, **options)


@_without_context
def copy_backups(*names: str, **options: Any) -> Result:
    """Bring copies up to date."""
    return upkeep.copy_backups(*names, **options)


@_without_context
def verify_backup(*arguments: Any, **options: Any) -> Result:
    """Compare the objects of backups with their manifests."""
    return upkeep.verify_backup(*arguments, **options)


@_without_context
def drill_backup(*arguments: Any, **options: Any) -> Result:
    """Restore a backup beside what is live, and compare."""
    return upkeep.drill_backup(*arguments, **options)


@_without_context
def prune_backups(**options: Any) -> Result:
    """Remove what the retention policy no longer keeps."""
    return upkeep.prune_backups(**options)


@_without_context
def pin_backup(backup_id: str, reason: str, **options: Any) -> Result:
    """Keep a backup."""
    return upkeep.pin_backup(backup_id, reason, **options)


@_without_context
def spot_check(*names: str, **options: Any) -> Result:
    """Compare what is live with the newest backups."""
    return upkeep.spot_check(*names, **options)


@_without_context
def monitor_backups(**options: Any) -> Result:
    """Check the age, size and health of all backups."""
    return upkeep.monitor_backups(**options)
