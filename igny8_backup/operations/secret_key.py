"""Compare the ``SECRET_KEY`` of two installations without revealing it."""

from __future__ import annotations

import hashlib
import hmac

from django.utils.encoding import force_bytes


def fingerprint(secret_key: str | bytes, backup_id: str) -> str:
    """HMAC-SHA256 (RFC 2104) of the backup's id under ``secret_key``, in hexadecimal.

    Two fingerprints of one backup are equal if the keys are."""
    return hmac.new(force_bytes(secret_key), f"igny8_backup {backup_id}".encode(), hashlib.sha256).hexdigest()
