"""Let an S3 server copy objects between its buckets, so that no content passes through this machine."""

from __future__ import annotations

import base64
import binascii

from igny8_backup.store.objects import Version
from igny8_backup.store.s3.requests.bucket import ANY_CALL, Bucket

LARGEST = 1 << 30
"""Size in bytes of the largest object that is copied on the server. S3 accepts 5 GiB in one request, but the
answer to such a request takes longer than this package waits for an answer."""

_COPY_CALL = {
    "ACL",
    "BucketKeyEnabled",
    "ObjectLockMode",
    "ObjectLockRetainUntilDate",
    "SSEKMSEncryptionContext",
    "SSEKMSKeyId",
    "ServerSideEncryption",
    "StorageClass",
    *ANY_CALL,
}


def copy_on_server(
    source: Bucket, source_key: str, target: Bucket, key: str, version: Version | None
) -> str | None:
    """Copy an object, or one version of it, to ``key`` in the bucket ``target``.

    Returns the SHA-256 of the whole object in hexadecimal digits, as the server computed it. The result is
    empty if the server did not compute it. Returns ``None``, and copies nothing, if one of the two objects is
    encrypted with a customer's key. Raises ``StorageError``. Source: Amazon S3 API Reference, "CopyObject".
    """
    if "SSECustomerKey" in source.parameters(source_key) or "SSECustomerKey" in target.parameters(key):
        return None
    origin = {"Bucket": source.name, "Key": source_key} | ({"VersionId": version.id} if version else {})
    answer = target.call(
        f"copy {source_key} to",
        "copy_object",
        _COPY_CALL,
        key,
        CopySource=origin,
        ChecksumAlgorithm="SHA256",
    )
    target.written[key] = answer.get("VersionId", "")
    result = answer.get("CopyObjectResult", {})
    if result.get("ChecksumType", "FULL_OBJECT") != "FULL_OBJECT":
        return ""
    try:
        return base64.b64decode(result.get("ChecksumSHA256", ""), validate=True).hex()
    except binascii.Error:
        return ""
