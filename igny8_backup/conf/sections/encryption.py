"""Read the key ENCRYPTION: the recipients of encrypted backups."""

from __future__ import annotations

from igny8_backup.conf.model import SETTING, Encryption
from igny8_backup.conf.parser import Reader


def read_encryption(reader: Reader) -> Encryption | None:
    """Return the public keys and the identity file, or ``None`` for ``"ENCRYPTION": None``."""
    if "ENCRYPTION" in reader.value and reader.value["ENCRYPTION"] is None:
        del reader.value["ENCRYPTION"]
        return None
    found = dict(reader.take("ENCRYPTION", dict, {}))
    recipients = found.pop("RECIPIENTS", [])
    identity = found.pop("IDENTITY_FILE", None)
    if not isinstance(recipients, (list, tuple)) or not all(isinstance(one, str) for one in recipients):
        reader.wrong(
            "E008",
            f"{SETTING}['ENCRYPTION']['RECIPIENTS'] is not a list of strings.",
            "Give a list of age public keys, as generate_backup_key prints them.",
        )
        recipients = ()
    for key in found:
        reader.wrong(
            "E002",
            f"{SETTING}['ENCRYPTION'] has the unknown key {key!r}.",
            "Known keys: RECIPIENTS, IDENTITY_FILE.",
        )
    path = reader.path(f"{SETTING}['ENCRYPTION']['IDENTITY_FILE']", identity) if identity else None
    return Encryption(recipients=tuple(recipients), identity_file=path)
