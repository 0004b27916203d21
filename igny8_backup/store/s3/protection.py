"""Ask S3 how a bucket protects its objects: versions, Object Lock and lifecycle rules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from igny8_backup.errors import StorageError
from igny8_backup.store.objects import Protection, UnreachableError
from igny8_backup.store.s3.requests.bucket import Answer, Bucket
from igny8_backup.store.s3.requests.errors import code_of, status_of

_OLD_VERSIONS = "NoncurrentVersionExpiration"
_ABSENT = {"ObjectLockConfigurationNotFoundError", "NoSuchLifecycleConfiguration"}
"""The error codes for a bucket without the configuration that was asked for."""


def protection(bucket: Bucket, rewritten: str, released: str) -> Protection:
    """Return how the bucket protects its objects, as far as this user may ask.

    ``rewritten`` is the prefix of the objects that are written again and again. ``released`` is the prefix of
    the objects that nobody needs after a day. Raises ``UnreachableError``.
    """
    versioning = _ask(bucket, "get_bucket_versioning")
    locking = _ask(bucket, "get_object_lock_configuration")
    lifecycle = _ask(bucket, "get_bucket_lifecycle_configuration")
    rules = None if lifecycle is None else lifecycle.get("Rules", ())
    needed = {rewritten: {_OLD_VERSIONS}, released: {_OLD_VERSIONS, "Expiration"}}
    configuration = (locking or {}).get("ObjectLockConfiguration", {})
    return Protection(
        versions=None if versioning is None else versioning.get("Status") == "Enabled",
        locking=None if locking is None else configuration.get("ObjectLockEnabled") == "Enabled",
        default_lock=_default(configuration),
        piling_up=tuple(
            prefix
            for prefix, actions in needed.items()
            if rules is not None and not _has(rules, prefix, actions)
        ),
    )


def may_lock(bucket: Bucket) -> bool:
    """Return whether the bucket lets objects be locked; true if this user is not allowed to ask that.

    Raises ``UnreachableError``.
    """
    found = _ask(bucket, "get_object_lock_configuration")
    return found is None or bool(found.get("ObjectLockConfiguration"))


def _default(configuration: dict[str, Any]) -> str:
    retention = configuration.get("Rule", {}).get("DefaultRetention", {})
    if "Mode" not in retention:
        return ""
    unit = "Days" if retention.get("Days") else "Years"
    return f"{retention.get(unit)} {unit.lower()} ({retention['Mode']})"


def _has(rules: Iterable[dict[str, Any]], prefix: str, actions: set[str]) -> bool:
    """Return whether enabled ``rules`` together take all ``actions`` on every object below ``prefix``.

    ``rules`` are the lifecycle rules of the bucket. ``actions`` are keys of a rule, such as ``Expiration``.
    """
    taken: set[str] = set()
    for rule in rules:
        chosen = rule.get("Filter", {})
        start = chosen.get("Prefix", rule.get("Prefix", ""))
        whole = not chosen.keys() - {"Prefix"} and prefix.startswith(start)
        if whole and rule.get("Status") == "Enabled":
            taken |= rule.keys()
    return actions <= taken


def _ask(bucket: Bucket, operation: str) -> Answer | None:
    """Send a request about the bucket, and return the answer.

    Returns ``None`` if this user may not send the request, ``{}`` if the bucket has no such setting or the
    server does not know the request. Raises ``UnreachableError``.
    """
    try:
        return bucket.ask(operation)
    except UnreachableError:
        raise
    except StorageError as error:
        absent = code_of(error.__cause__) in _ABSENT or status_of(error.__cause__) in (404, 405, 501)
        return {} if absent else None
