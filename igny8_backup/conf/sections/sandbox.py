"""Read the key SANDBOX: how the process that migrates and sanitizes starts, and what it can reach."""

from __future__ import annotations

import re
from typing import Any

from igny8_backup.conf.model import SETTING, Sandbox
from igny8_backup.conf.parser import Reader

_KEYS = {"SCRIPT", "SETTINGS", "ALLOW"}
# A Unix socket, or a host with or without a port. An IPv6 address with a port is in brackets.
_ADDRESS = re.compile(
    r"(?P<path>/.+)|(\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<host>[^\s:/\[\]]+))(:(?P<port>[0-9]{1,5}))?"
    r"|(?P<plain_v6>[0-9a-fA-F:.]*:[0-9a-fA-F:.]*:[0-9a-fA-F:.]*)"
)


def read_sandbox(reader: Reader) -> Sandbox:
    """Return SCRIPT and ALLOW, two keys of the setting SANDBOX.

    Its third key, SETTINGS, is only checked here, because the sandbox process reads it itself.
    """
    given: dict[Any, Any] = reader.take("SANDBOX", dict, {})
    script, changed, allowed = given.get("SCRIPT", ""), given.get("SETTINGS", {}), given.get("ALLOW", [])
    names = isinstance(changed, dict) and all(isinstance(name, str) and name.isupper() for name in changed)
    listed = isinstance(allowed, list | tuple)
    if not isinstance(script, str) or not names or not listed or given.keys() - _KEYS:
        reader.wrong(
            "E037",
            f"{SETTING}['SANDBOX'] is not a dict with SCRIPT (a path or module), SETTINGS (a dict) and ALLOW"
            " (a list).",
            'Write {"SCRIPT": "/srv/app/manage.py", "SETTINGS": {"DEBUG": False}, "ALLOW": ["vault:8200"]}.',
        )
        return Sandbox()
    if "DATABASES" in changed:
        reader.wrong(
            "E037",
            f"{SETTING}['SANDBOX']['SETTINGS'] changes DATABASES, which the restore itself sets.",
            "Remove DATABASES.",
        )
    addresses = [_address(item) for item in allowed]
    if None in addresses:
        reader.wrong(
            "E037",
            f"{SETTING}['SANDBOX']['ALLOW'] contains {allowed[addresses.index(None)]!r}, which is neither a"
            " host with or without a port nor the path of a Unix socket.",
            'Write addresses without a scheme: ["vault.example.com:8200", "[::1]:389", "/run/clamd.sock"].',
        )
    return Sandbox(script, tuple(item for item in addresses if item is not None))


def _address(text: object) -> tuple[str, int | None] | None:
    found = _ADDRESS.fullmatch(text) if isinstance(text, str) else None
    if found is None or int(found["port"] or 0) > 65535:
        return None
    host = found["path"] or found["v6"] or found["host"] or found["plain_v6"]
    return host, int(found["port"]) if found["port"] else None
