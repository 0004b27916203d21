"""Ask S3 whether everybody can read a bucket, by its policy or its ACL."""

from __future__ import annotations

from typing import Any

from igny8_backup.errors import StorageError
from igny8_backup.store.exposure import EVERYBODY
from igny8_backup.store.objects import UnreachableError
from igny8_backup.store.s3.requests.bucket import Bucket


def public_access(bucket: Bucket) -> str:
    """Return why everybody can read the bucket, or ``""`` if access is restricted or unknown.

    Raises ``UnreachableError`` if the server does not answer.
    """
    block = _ask(bucket, "get_public_access_block").get("PublicAccessBlockConfiguration", {})
    if not block.get("RestrictPublicBuckets"):
        status = _ask(bucket, "get_bucket_policy_status").get("PolicyStatus", {})
        if status.get("IsPublic"):
            return "the policy of the bucket is public"
    if not block.get("IgnorePublicAcls"):
        for grant in _ask(bucket, "get_bucket_acl").get("Grants", ()):
            if str(grant.get("Grantee", {}).get("URI", "")).endswith(EVERYBODY):
                return "the ACL of the bucket names everybody"
    return ""


def _ask(bucket: Bucket, operation: str) -> dict[str, Any]:
    """Return the answer to a request about the bucket, or ``{}`` if the server does not support or allow it.

    Raises ``UnreachableError`` if the server does not answer.
    """
    try:
        return bucket.ask(operation)
    except UnreachableError:
        raise
    except StorageError:
        return {}
