"""Compare the ``SECRET_KEY`` of two installations without revealing it."""

from __future__ import annotations

import hashlib
import hmac

from django.utils.encoding import force_bytes


def fingerprint(secret_key: str | bytes, backup_id: str) -> str:
    """Return the HMAC-SHA256 (RFC 2104) of ``backup_id`` under ``secret_key``, in hexadecimal.

    Two fingerprints for the same backup are equal if the keys are equal.
    """
    return hmac.new(force_bytes(secret_key), f"igny8_backup {backup_id}".encode(), hashlib.sha256).hexdigest()
