"""Whether two installations share a ``SECRET_KEY``, without telling it."""

from __future__ import annotations

import hashlib
import hmac

from django.utils.encoding import force_bytes


def fingerprint(secret_key: str | bytes, backup_id: str) -> str:
    """Tells whether two installations share a ``SECRET_KEY`` without telling it: HMAC-SHA256 (RFC 2104) of
    the backup's id, as hex."""
    return hmac.new(force_bytes(secret_key), f"igny8_backup {backup_id}".encode(), hashlib.sha256).hexdigest()
