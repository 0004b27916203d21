"""The buttons of the pages. A button only queues a task; a worker does the work and signs the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType

from igny8_backup.conf import ConfigurationError, get_config
from igny8_backup.errors import RefusedError
from igny8_backup.models import Backup
from igny8_backup.operations.maintain.pin import require_reason
from igny8_backup.queues.choose import queue_task, why_no_queue

MOST_REASON = 200
"""The largest number of characters in the reason of a pin."""


@dataclass(frozen=True, kw_only=True)
class Action:
    """What a button queues: a task with its arguments.

    ``about`` is the id of the backup that the task concerns, or empty if the task makes a new backup.
    ``text`` says what was queued.
    """

    task: str
    arguments: dict[str, Any]
    about: str
    text: str


def back_up(backup_id: str, form: Mapping[str, str]) -> Action:
    """Return the action that backs up all databases and trees."""
    text = "A backup of all databases and trees was queued"
    return Action(task="backup_all", arguments={"label": "from-the-admin"}, about="", text=text)


def verify(backup_id: str, form: Mapping[str, str]) -> Action:
    """Return the action that verifies a backup, at the depth that needs no key."""
    text = f"The verification of backup {backup_id} was queued"
    return Action(
        task="verify_backup",
        arguments={"backup_id": backup_id},
        about=backup_id,
        text=text,
    )


def drill(backup_id: str, form: Mapping[str, str]) -> Action:
    """Return the action that drills a backup. Raises ``RefusedError`` if the worker has no key for it."""
    if not has_key():
        raise RefusedError(
            "A drill needs the private key, and the settings name none.",
            unchanged="Nothing was queued.",
            hint="Set IDENTITY_FILE in ENCRYPTION, for a worker on a machine that keeps the key.",
        )
    text = f"The drill of backup {backup_id} was queued"
    return Action(task="drill_backup", arguments={"backup_id": backup_id}, about=backup_id, text=text)


def has_key() -> bool:
    """Return whether the settings, which web processes and workers share, name a key that opens backups."""
    try:
        encryption = get_config().encryption
    except ConfigurationError:
        return False
    return encryption is None or encryption.identity_file is not None


def pin(backup_id: str, form: Mapping[str, str]) -> Action:
    """Return the action that pins a backup. Raises ``UsageError`` if ``form`` gives no reason."""
    reason = form.get("reason", "").strip()[:MOST_REASON]
    require_reason(reason, "A pin")
    text = f"The pin of backup {backup_id} was queued, with the reason: {reason}"
    return Action(
        task="pin_backup",
        arguments={"backup_id": backup_id, "reason": reason},
        about=backup_id,
        text=text,
    )


ACTIONS: Mapping[str, Callable[[str, Mapping[str, str]], Action]] = {
    "back-up": back_up,
    "verify": verify,
    "drill": drill,
    "pin": pin,
}
PERMISSIONS = {
    "back-up": "run_backup",
    "verify": "verify_backup",
    "drill": "drill_backup",
    "pin": "pin_backup",
}
"""The permission that is needed for each button, by the name of the button."""


def carry_out(action: Action, user_id: Any) -> str:
    """Queue the task of ``action`` and write an entry to the log of the admin; return text for the user.

    Raises ``RefusedError`` if nothing can be queued, ``BackupError`` if the broker does not answer.
    """
    task_id = queue_task(action.task, **action.arguments)
    LogEntry.objects.create(
        user_id=user_id,
        content_type=ContentType.objects.get_for_model(Backup),
        object_id=action.about or None,
        object_repr=f"backup {action.about}" if action.about else "all databases and trees",
        action_flag=CHANGE,
        change_message=f"{action.text} (task {task_id}).",
    )
    return f"{action.text}. A worker does it, and this page shows how far it is."


def buttons(allowed: Callable[[str], bool]) -> dict[str, Any]:
    """Return the template variables for the buttons.

    ``allowed`` returns whether the user has a permission. The variables say which buttons the user is allowed
    to press, and if tasks cannot be queued, why.
    """
    found = {name.replace("-", "_"): allowed(permission) for name, permission in PERMISSIONS.items()}
    found["drill"] = found["drill"] and has_key()
    about_backup = any(found[name] for name in ("verify", "drill", "pin"))
    return {
        "may": {**found, "any": about_backup},
        "no_queue": why_no_queue() if any(found.values()) else "",
        "most": MOST_REASON,
    }
