"""Explain the error codes of S3, with a hint for each.

The code decides, not the HTTP status: S3 and compatible servers answer 400 or 403 for many different errors.
Source: Amazon S3 API Reference, "Error responses"; the codes of MinIO and Ceph that differ.
"""

from __future__ import annotations

from igny8_backup.store.objects import SETTING
from igny8_backup.store.transient import status_may_pass

OPTIONS = f"OPTIONS of {SETTING}"
BUSY = {
    "InternalError",
    "SlowDown",
    "SlowDownRead",
    "SlowDownWrite",
    "ServiceUnavailable",
    "ServerBusy",
    "RequestTimeout",
    "RequestTimeoutException",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequests",
    "TooManyRequestsException",
    "PriorRequestNotComplete",
    "OperationAborted",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "XMinioServerNotInitialized",
    "KMS.ThrottlingException",
    "KMS.KMSInternalException",
}
"""Error codes with which the server asks to try again, or says that the request was incomplete."""

REGION = {
    "AuthorizationHeaderMalformed",
    "AuthorizationQueryParametersError",
    "BucketRegionError",
    "IllegalLocationConstraintException",
    "MovedPermanently",
    "PermanentRedirect",
    "Redirect",
    "TemporaryRedirect",
}
EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"}
CLOCK = {"RequestTimeTooSkewed", "RequestInTheFuture"}
FULL = {"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "StorageQuotaExceeded", "507"}
DENIED = {"AccessDenied", "AccessForbidden", "AllAccessDisabled", "Forbidden", "UnauthorizedAccess", "403"}
ACCOUNT = {"AccountProblem", "AccountSuspended", "InvalidPayer", "NotSignedUp", "UserSuspended"}
TOO_LARGE = {"EntityTooLarge", "EntityTooSmall", "MaxMessageLengthExceeded", "413"}
PARTS = {"InvalidPart", "InvalidPartOrder", "NoSuchUpload"}
CHECKSUMS = {
    "BadDigest",
    "InvalidArgument",  # Backblaze B2: "Unsupported header 'x-amz-sdk-checksum-algorithm'"
    "InvalidDigest",
    "MissingContentLength",
    "NotImplemented",
    "XAmzContentChecksumMismatch",  # Ceph, IBM
    "XAmzContentSHA256Mismatch",
}
"""Error codes for uploads with the checksums that boto3 adds since version 1.36, from servers that do not
know these checksums."""

KNOWN = FULL | DENIED | ACCOUNT | REGION | EXPIRED | CLOCK | TOO_LARGE | PARTS | CHECKSUMS

WRITING = {"CompleteMultipartUpload", "CreateMultipartUpload", "PutObject", "UploadPart"}
RIGHTS = {
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "CompleteMultipartUpload": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "DeleteObject": "s3:DeleteObject, and s3:DeleteObjectVersion if the bucket keeps versions",
    "GetObject": "s3:GetObject and s3:ListBucket (needed to learn that an object is missing), and"
    " s3:GetObjectVersion if the bucket keeps versions",
    "HeadObject": "s3:GetObject and s3:ListBucket",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "ListObjectVersions": "s3:ListBucketVersions",
    "ListObjectsV2": "s3:ListBucket",
    "PutObject": "s3:PutObject, and s3:PutObjectRetention if OBJECT_LOCK is set",
    "PutObjectRetention": "s3:PutObjectRetention",
    "UploadPart": "s3:PutObject",
}
"""The permission that each request needs."""

WITHOUT_CHECKSUMS = (
    'add client_config to its OPTIONS: botocore.config.Config(request_checksum_calculation="when_required",'
    ' response_checksum_validation="when_required")'
)


def explain_answer(code: str, status: int, operation: str, region: str) -> tuple[bool, str, str]:
    """Return whether a request may succeed later, the reason of its failure, and a hint.

    ``code`` and ``status`` (HTTP) are from the answer of S3. ``operation`` is the request, such as
    ``PutObject``. ``region`` is the region of the bucket; it is empty unless the answer names it.
    """
    # Unknown codes, and proxies that answer without a code, are judged by the status.
    if code in BUSY or (code not in KNOWN and status_may_pass(status)):
        answer = f"status {status}" if code.isdigit() else f"{code}, status {status}"
        return True, f"the server reports an error of its own ({answer})", "Try again later."
    reason, hint = _explain(code, status, operation, region)
    return False, reason, hint


def _explain(code: str, status: int, operation: str, region: str) -> tuple[str, str]:
    if code == "NoSuchBucket":
        hint = f"Create the bucket, or correct bucket_name, region_name and endpoint_url in {OPTIONS}."
        return "the bucket does not exist", hint
    if code == "InvalidAccessKeyId":
        hint = f"Correct access_key in {OPTIONS}, and endpoint_url if the key belongs to another service."
        return f"the server does not know the access key ({code})", hint
    if code == "SignatureDoesNotMatch":
        hint = f"Correct secret_key in {OPTIONS}."
        if operation in WRITING:
            hint += f" If reading and listing work, {WITHOUT_CHECKSUMS}."
        return f"the credentials are wrong: the secret key does not fit the access key ({code})", hint
    if code in EXPIRED:
        hint = (
            f"Renew the credentials: security_token in {OPTIONS}, or AWS_SESSION_TOKEN. For scheduled runs"
            " use a role of the machine, whose tokens boto3 renews, or a permanent key."
        )
        return f"the temporary credentials have expired ({code})", hint
    if code in ("InvalidToken", "InvalidSecurity"):
        hint = f"Correct security_token in {OPTIONS} or AWS_SESSION_TOKEN; remove it if the key is permanent."
        return f"the session token does not fit the credentials ({code})", hint
    if code in CLOCK:
        return f"the clock of this machine is wrong ({code})", "Set the clock, for example with NTP."
    if code in REGION or 300 <= status < 400:
        where = f" ({region})" if region else ""
        to = f"to {region}" if region else "to the region of the bucket, and endpoint_url to its address,"
        return f"the bucket is in another region{where}: {code}", f"Set region_name {to} in {OPTIONS}."
    if code in FULL or status == 507:
        hint = "Raise the quota, or delete backups that are no longer needed."
        return f"the storage has no free space ({code})", hint
    if code.startswith("KMS."):
        hint = (
            "Enable the key that the bucket or object_parameters name, and allow this user"
            " kms:GenerateDataKey and kms:Decrypt."
        )
        return f"the encryption key of the bucket cannot be used ({code})", hint
    if code == "InvalidObjectState":
        hint = (
            "Restore the object from the archive first, for example with `aws s3api restore-object`. Then"
            " exclude the prefix of the backups from the lifecycle rule that archives objects."
        )
        return f"the object lies in an archive storage class ({code})", hint
    if code in TOO_LARGE:
        hint = (
            "Raise the limit of the server, or of the proxy in front of it (nginx: client_max_body_size 64m)."
        )
        return f"the server does not accept an upload of this size ({code})", hint
    if code in PARTS:
        hint = "Run the backup again. A lifecycle rule may abort unfinished uploads after a day, not before."
        return f"the server no longer has a part of the upload ({code})", hint
    if operation in WRITING and (code in CHECKSUMS or status == 501):
        hint = f"If the server does not know the checksums of boto3 1.36 or later, {WITHOUT_CHECKSUMS}."
        return f"the server does not accept the form of the upload ({code})", hint
    if code in ACCOUNT:
        return f"the account of the storage is blocked ({code})", "Ask the provider of the storage."
    if code in DENIED or status in (401, 403):
        rights = RIGHTS.get(operation, "access to the bucket")
        return f"access denied ({code})", f"Allow this user on the bucket: {rights}."
    hint = f"Look up the code in the documentation of the storage, and check {OPTIONS}."
    return f"the server answered {code} (status {status})", hint
