"""Error answers of S3: the code decides what is said and advised, whatever the HTTP status."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from igny8_backup.errors import StorageError
from igny8_backup.store import MissingObjectError, Store, UnreachableError
from igny8_backup.store.s3.upload import SMALLEST_PART
from igny8_backup.streams.pipeline import from_bytes
from tests.services.proxy import CuttingProxy, error_answer
from tests.store.conftest import OpenStore

EMPTY = b"Content-Length: 0\r\nConnection: close\r\n\r\n"
WHEN_REQUIRED = 'client_config .*request_checksum_calculation="when_required"'
EXPIRED = "temporary credentials have expired.*AWS_SESSION_TOKEN"
REGION = "the bucket is in another region"


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "AccessDenied", "access denied.*s3:PutObject"),
        (403, "InvalidAccessKeyId", "does not know the access key.*Correct access_key"),
        (403, "SignatureDoesNotMatch", f"credentials are wrong.*Correct secret_key.*{WHEN_REQUIRED}"),
        (400, "ExpiredToken", EXPIRED),
        (403, "ExpiredToken", EXPIRED),
        (400, "TokenRefreshRequired", EXPIRED),
        (400, "InvalidToken", "session token does not fit.*security_token"),
        (403, "RequestTimeTooSkewed", "the clock of this machine.*Set the clock"),
        (403, "QuotaExceeded", "no free space.*Raise the quota"),
        (507, "InsufficientStorage", "no free space"),
        (404, "NoSuchBucket", "the bucket does not exist.*Create the bucket"),
        (400, "AuthorizationHeaderMalformed", f"{REGION}.*Set region_name"),
        (400, "IllegalLocationConstraintException", REGION),
        (400, "KMS.DisabledException", "encryption key.*kms:GenerateDataKey"),
        (400, "EntityTooLarge", "upload of this size.*client_max_body_size"),
        (413, "413", "upload of this size"),
        (403, "UserSuspended", "the account of the storage is blocked"),
        (400, "XAmzContentSHA256Mismatch", WHEN_REQUIRED),
        (400, "BadDigest", WHEN_REQUIRED),
        (411, "MissingContentLength", WHEN_REQUIRED),
        (501, "NotImplemented", WHEN_REQUIRED),
        (400, "InvalidArgument", WHEN_REQUIRED),
        (400, "XAmzContentChecksumMismatch", WHEN_REQUIRED),
        (418, "Teapot", "the server answered Teapot"),
    ],
)
def test_put_refused_is_explained_by_the_code(
    open_s3: OpenStore, proxy: CuttingProxy, status: int, code: str, words: str
) -> None:
    proxy.forge_answer(b"PUT ", error_answer(status, code))
    with pytest.raises(StorageError, match=words) as caught:
        open_s3(proxy.endpoint).put_small("a", b"data")
    assert not isinstance(caught.value, UnreachableError)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (503, "SlowDown"),
        (400, "RequestTimeout"),
        (409, "OperationAborted"),
        (409, "ConditionalRequestConflict"),
        (429, "TooManyRequests"),
        (400, "Throttling"),
        (502, "BadGateway"),
    ],
)
def test_put_refused_for_now_may_be_repeated(
    open_s3: OpenStore, proxy: CuttingProxy, status: int, code: str
) -> None:
    proxy.forge_answer(b"PUT ", error_answer(status, code))
    with pytest.raises(UnreachableError, match=f"an error of its own .{code}"):
        open_s3(proxy.endpoint).put_small("a", b"data")


CALLS: dict[str, tuple[bytes, Callable[[Store], object], str]] = {
    "list": (b"list-type=2", lambda store: list(store.list()), "s3:ListBucket"),
    "get": (b"GET ", lambda store: next(store.open("a")), "s3:GetObject and s3:ListBucket"),
    "delete": (b"DELETE ", lambda store: store.delete("a"), "s3:DeleteObject"),
    "uploads": (b"?uploads", lambda store: store.abandoned_uploads(), "s3:ListBucketMultipartUploads"),
    "part": (
        b"partNumber=1",
        lambda store: store.put("a", from_bytes(bytes(SMALLEST_PART + 1))),
        "s3:PutObject",
    ),
}


@pytest.mark.parametrize(("needle", "call", "right"), CALLS.values(), ids=CALLS)
def test_denied_request_names_the_permission_that_it_needs(
    open_s3: OpenStore, proxy: CuttingProxy, needle: bytes, call: Callable[[Store], object], right: str
) -> None:
    proxy.forge_answer(needle, error_answer(403, "AccessDenied"))
    with pytest.raises(StorageError, match=rf"access denied.*on the bucket: {right}"):
        call(open_s3(proxy.endpoint))


def test_get_archived_object_says_how_to_restore_it(open_s3: OpenStore, proxy: CuttingProxy) -> None:
    proxy.forge_answer(b"GET ", error_answer(403, "InvalidObjectState", StorageClass="GLACIER"))
    with pytest.raises(StorageError, match=r"archive storage class.*restore-object") as caught:
        next(open_s3(proxy.endpoint).open("a"))
    assert not isinstance(caught.value, MissingObjectError)


def test_complete_without_its_parts_says_that_they_are_gone(open_s3: OpenStore, proxy: CuttingProxy) -> None:
    store = open_s3(proxy.endpoint)
    upload_id = store._bucket.begin(store._key("igny8/a"))
    proxy.forge_answer(b"uploadId=", error_answer(400, "InvalidPart"))
    with pytest.raises(StorageError, match="no longer has a part of the upload"):
        store._bucket.complete(store._key("igny8/a"), upload_id, [{"PartNumber": 1, "ETag": "x"}])
    store._bucket.abort(store._key("igny8/a"), upload_id)


@pytest.mark.parametrize(
    "code", ["ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied"]
)
@pytest.mark.parametrize("head", [b"HTTP/1.1 400 Bad Request\r\n", b"HTTP/1.1 403 Forbidden\r\n"])
def test_head_refused_without_code_is_explained_by_that_of_a_listing(
    open_s3: OpenStore, proxy: CuttingProxy, head: bytes, code: str
) -> None:
    proxy.forge_answer(b"HEAD ", head + EMPTY)
    proxy.forge_answer(b"list-type=2", error_answer(403, code))
    with pytest.raises(StorageError, match=code):
        open_s3(proxy.endpoint).size("a")


def test_malformed_header_with_a_region_names_it(open_s3: OpenStore, proxy: CuttingProxy) -> None:
    refused = error_answer(400, "AuthorizationHeaderMalformed", Region="eu-west-1")
    proxy.answer_always(b"", refused)
    with pytest.raises(StorageError, match=r"another region \(eu-west-1\).*Set region_name to eu-west-1 in"):
        list(open_s3(proxy.endpoint).list())


REDIRECTS: dict[str, Callable[[Store], object]] = {
    "list": lambda store: list(store.list()),
    "head": lambda store: store.exists("a"),
    "get": lambda store: next(store.open("a")),
    "put": lambda store: store.put_small("a", b"data"),
}


@pytest.mark.parametrize("status", [301, 307])
@pytest.mark.parametrize("call", REDIRECTS.values(), ids=REDIRECTS)
def test_redirect_without_a_region_is_explained(
    open_s3: OpenStore, proxy: CuttingProxy, call: Callable[[Store], object], status: int
) -> None:
    """boto3 asks HeadBucket for the region, again and again, until Python raises RecursionError."""
    store = open_s3(proxy.endpoint)
    proxy.answer_always(b"HEAD ", f"HTTP/1.1 {status} Moved\r\n".encode() + EMPTY)
    proxy.answer_always(b"", error_answer(status, "PermanentRedirect"))
    with pytest.raises(StorageError, match=rf"{REGION}: PermanentRedirect\. Set region_name"):
        call(store)
    assert len(proxy.asked) < 10
