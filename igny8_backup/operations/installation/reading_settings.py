"""The settings that a machine needs to read the backups of this project: public keys, names, the storage."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from django.conf import settings

from igny8_backup.conf import SETTING, STORAGE_ALIAS, Config
from igny8_backup.signing.sshsig import public_from_line

_STORAGE_OPTIONS = (
    "account_name",
    "azure_container",
    "bucket_name",
    "endpoint_url",
    "host",
    "location",
    "project_id",
    "region_name",
    "root_path",
)
"""The options of storages that say where the backups are. All others may be secret."""


def reading_settings(config: Config, recipient: str, public_signing_key: str) -> str:
    """Return Python source with the settings that restores on an empty machine need, without any secret.

    ``recipient`` and ``public_signing_key`` (a line in OpenSSH's format, or empty) are added to the keys in
    the settings.
    """
    given: Mapping[str, Any] = getattr(settings, SETTING, {})
    trusted: list[Any] = list(given.get("TRUSTED", ()))
    public = {key.public for key in config.trust.keys}
    if public_signing_key and public_from_line(public_signing_key) not in public:
        trusted.append(public_signing_key)
    values: dict[str, Any] = {
        "HOST": config.host,
        "ENVIRONMENT": config.environment,
        "PREFIX": config.prefix,
        "ENCRYPTION": {"RECIPIENTS": list(dict.fromkeys([*config.recipients, recipient]))},
    }
    if trusted:
        values["TRUSTED"] = trusted
    lines = [f"{SETTING} = {{", *(f"    {_python(key)}: {_python(values[key])}," for key in values), "}"]
    storage: Mapping[str, Any] = getattr(settings, "STORAGES", {}).get(STORAGE_ALIAS, {})
    if "BACKEND" in storage:
        options = {key: value for key, value in storage.get("OPTIONS", {}).items() if _is_public(key, value)}
        place = {"BACKEND": storage["BACKEND"], "OPTIONS": options}
        lines.append(f"STORAGES[{_python(STORAGE_ALIAS)}] = {_python(place)}  # add its credentials")
    return "\n".join(lines) + "\n"


def _is_public(key: str, value: object) -> bool:
    """Return whether an option of a storage is needed to find the storage, and contains no password."""
    return key in _STORAGE_OPTIONS and isinstance(value, (str, os.PathLike)) and "@" not in os.fspath(value)


def _python(value: object) -> str:
    """Return ``value`` as Python source on one line. Paths become strings."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_python(key)}: {_python(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_python, value)) + "]"
    if isinstance(value, (str, os.PathLike)):
        return json.dumps(os.fspath(value), ensure_ascii=False)
    return repr(value)
