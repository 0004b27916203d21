"""Fingerprints of the public keys in the settings."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

from igny8_backup.errors import BackupError
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.report.model import KeyFact
from igny8_backup.signing import sshsig


def key_facts(context: BackupContext) -> Iterator[KeyFact]:
    """Yield the keys that backups are encrypted to, the key that this host signs with, and trusted keys.

    If the file of the signing key cannot be read, this key is left out, because a report can be made without
    any private key.
    """
    config = context.config
    for recipient in config.recipients:
        fields = recipient.split()
        comment = " ".join(fields[2:]) if recipient.startswith("ssh-") else ""
        yield KeyFact(use="encryption", name=comment, fingerprint=recipient_fingerprint(recipient))
    try:
        own = context.load_signing_key()
    except BackupError:
        own = None
    if own:
        yield KeyFact(use="signing", name="", fingerprint=_fingerprint(sshsig.public_blob(own.public)))
    for key in config.trust.keys:
        blob = sshsig.public_blob(key.public)
        yield KeyFact(use="trusted", name=key.name, fingerprint=_fingerprint(blob), revoked=key.revoked)


def recipient_fingerprint(recipient: str) -> str:
    """Return the fingerprint of a recipient: that of its SSH key, or else the digest of its text."""
    fields = recipient.split()
    if recipient.startswith("ssh-") and len(fields) > 1:
        return _fingerprint(base64.b64decode(fields[1]))
    return _fingerprint(recipient.strip().encode())


def _fingerprint(blob: bytes) -> str:
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
