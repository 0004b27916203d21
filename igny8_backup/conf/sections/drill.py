"""Read the keys DRILL and RESTORE_USER: where a drill restores databases, and as which user."""

from __future__ import annotations

import pwd
from typing import Any

from igny8_backup.conf.model import SETTING, DrillServer
from igny8_backup.conf.parser import Reader

_KEYS = ("HOST", "PORT", "USER", "PASSWORD", "OPTIONS")


def read_drill(reader: Reader) -> DrillServer | None:
    """Return the server that drills connect to; ``None`` if the settings name none."""
    found: dict[Any, Any] = dict(reader.take("DRILL", dict, {}))
    if not found:
        return None
    values = {key: found.pop(key, "") for key in _KEYS[:4]}
    options = found.pop("OPTIONS", {})
    texts = all(isinstance(value, (str, int)) and not isinstance(value, bool) for value in values.values())
    if found or not texts or not isinstance(options, dict) or not values["HOST"] or not values["USER"]:
        # The message names no value, because one of them is the password.
        reader.wrong(
            "E038",
            f"{SETTING}['DRILL'] is not a dict with HOST and USER (and PORT, PASSWORD, OPTIONS if needed).",
            'Write {"HOST": "drill-db", "USER": "drill", "PASSWORD": os.environ["DRILL_PASSWORD"]}.',
        )
        return None
    return DrillServer(
        host=str(values["HOST"]),
        port=str(values["PORT"]),
        user=str(values["USER"]),
        password=str(values["PASSWORD"]),
        options={str(key): str(value) for key, value in options.items()},
    )


def read_restore_user(reader: Reader) -> str:
    """Return the name of the user as which a restore that root has started runs its programs.

    The result is empty if the setting is missing.
    """
    name: str = reader.take("RESTORE_USER", str, "")
    if name:
        try:
            pwd.getpwnam(name)
        except (KeyError, ValueError):
            reader.wrong(
                "E039",
                f"{SETTING}['RESTORE_USER'] is {name!r}, and this machine has no such user.",
                "Give the name of a user without rights, or remove the setting.",
            )
    return name
