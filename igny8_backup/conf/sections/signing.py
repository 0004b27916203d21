"""Read the keys SIGNING and TRUSTED: the key that this host signs with, and the keys that it trusts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from igny8_backup.conf.model import SETTING
from igny8_backup.conf.parser import Reader
from igny8_backup.formats import keys
from igny8_backup.signing import sshsig
from igny8_backup.signing.trust import DEFAULT_KINDS, KINDS, PART_KINDS, TrustedKey

_HINT = (
    "Give the line that generate_signing_key printed, or a dict with that line as KEY and, if wanted, SIGNS,"
    " HOSTS, PARTS and REVOKED."
)


def read_signing_key(reader: Reader) -> Path | None:
    """Return the path of the private key that this host signs its backups with; ``None`` without one."""
    found = dict(reader.take("SIGNING", dict, {}))
    path = found.pop("KEY_FILE", None)
    for key in found:
        reader.wrong("E002", f"{SETTING}['SIGNING'] has the unknown key {key!r}.", "Known key: KEY_FILE.")
    return reader.path(f"{SETTING}['SIGNING']['KEY_FILE']", path) if path else None


def read_trusted(reader: Reader) -> tuple[TrustedKey, ...]:
    """Return the public keys that the settings trust, each with what it may sign."""
    keys = []
    for number, entry in enumerate(reader.take("TRUSTED", (list, tuple), ()), start=1):
        try:
            keys.append(_read_key(entry, f"key {number}"))
        except ValueError as error:
            reader.wrong("E035", f"{SETTING}['TRUSTED'], entry {number}: {error}.", _HINT)
    if len({key.public for key in keys}) < len(keys):
        reader.wrong("E035", f"{SETTING}['TRUSTED'] names a key twice.", "Remove one of the two entries.")
    return tuple(keys)


def _read_key(entry: Any, name: str) -> TrustedKey:
    found = {"KEY": entry} if isinstance(entry, str) else dict(entry) if isinstance(entry, dict) else {}
    line = found.pop("KEY", None)
    if not isinstance(line, str):
        raise ValueError("it has no KEY")
    public = sshsig.public_from_line(line)
    comment = " ".join(line.split()[2:])
    kinds = _names(found, "SIGNS") or DEFAULT_KINDS
    if unknown := set(kinds) - set(KINDS):
        raise ValueError(f"{sorted(unknown)[0]!r} in SIGNS is not one of {', '.join(KINDS)}")
    wrong = [part for part in _names({**found}, "PARTS") if not is_part(part)]
    if wrong:
        kinds_of_parts = " or ".join(f"{kind}:NAME" for kind in PART_KINDS)
        raise ValueError(f"{wrong[0]!r} in PARTS is neither a name nor {kinds_of_parts}")
    hosts, parts = _names(found, "HOSTS"), _names(found, "PARTS")
    revoked = found.pop("REVOKED", False)
    if not isinstance(revoked, bool):
        raise ValueError("REVOKED is not True or False")
    if found:
        raise ValueError(f"it has the unknown key {sorted(map(str, found))[0]!r}")
    return TrustedKey(
        name=comment or name, public=public, kinds=kinds, hosts=hosts, parts=parts, revoked=revoked
    )


def _names(found: dict[str, Any], key: str) -> tuple[str, ...]:
    if key not in found:
        return ()
    names = found.pop(key)
    if (
        not names
        or not isinstance(names, (list, tuple))
        or not all(isinstance(name, str) and name for name in names)
    ):
        raise ValueError(f"{key} is not a list of names, or is empty")
    return tuple(names)


def is_part(text: str) -> bool:
    """Return whether ``text`` names a database or tree: ``uploads`` or ``files:uploads``."""
    kind, colon, name = text.rpartition(":")
    return keys.is_name(name) and (not colon or kind in PART_KINDS)
