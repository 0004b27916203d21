"""Find out whether an upload has arrived, if its answer was lost or has another checksum."""

from __future__ import annotations

import hashlib
import os
from io import BytesIO
from typing import BinaryIO

from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.store.s3.download import Download
from igny8_backup.store.s3.requests.bucket import Answer, Bucket, Parameters
from igny8_backup.store.s3.requests.checksums import altered
from igny8_backup.store.small import same_content
from igny8_backup.streams import BLOCK


def put(bucket: Bucket, key: str, body: BinaryIO, *, replace: bool) -> None:
    """Store ``body`` in one request, as ``Bucket.put`` does, and compare it with the checksums in the answer.

    If the checksums differ, the stored object is read, because not all servers answer with MD5 digests.
    Raises ``IntegrityError`` if its content differs too.
    """
    answer = bucket.put(key, body, replace=replace)
    if bucket.checksums.fit(answer, body) is False:
        if not has_content(bucket, key, body):
            raise altered(key, bucket.place)
        bucket.checksums.etags_are_md5 = False


def has_content(bucket: Bucket, key: str, body: BinaryIO) -> bool:
    """Return whether the object ``key`` has the content of ``body``.

    If it has, the upload of ``body`` has succeeded, and only the answer was lost.
    """
    try:
        head = bucket.head(key)
        if head is None or head["ContentLength"] != length_of(body):
            return False
        # With some kinds of encryption the ETag is no MD5 digest, so the content itself is compared.
        return _etag(head) == _md5_of(body) or same_content(Download(bucket, key)(0), body)
    except (StorageError, IntegrityError):
        return False


def has_parts(bucket: Bucket, key: str, size: int, parts: list[Parameters]) -> bool:
    """Return whether the object ``key`` has ``size`` bytes and consists of ``parts``.

    If so, the request that combined the parts has succeeded, and only its answer was lost.
    """
    try:
        head = bucket.head(key)
    except StorageError:
        return False
    if head is None or head["ContentLength"] != size:
        return False
    if _etag(head) == _etag_of(parts):
        return True
    encrypted = "SSECustomerAlgorithm" in head or "kms" in head.get("ServerSideEncryption", "")
    return encrypted and _etag(head).endswith(f"-{len(parts)}")


def length_of(file: BinaryIO) -> int:
    # Do not use getbuffer(): an error's traceback can hold its view in a reference cycle, and collecting that
    # cycle can crash the interpreter (seen with CPython 3.12.1).
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    return length


def _etag(head: Answer) -> str:
    return str(head["ETag"]).strip('"')


def _etag_of(parts: list[Parameters]) -> str:
    """Return the ETag of an object that consists of ``parts``, or an empty string if it is unpredictable.

    With some kinds of encryption the ETag of a part is not an MD5 digest.
    """
    try:
        sums = b"".join(bytes.fromhex(part["ETag"].strip('"')) for part in parts)
    except ValueError:
        return ""
    return f"{_md5_of(BytesIO(sums))}-{len(parts)}"


def _md5_of(file: BinaryIO) -> str:
    file.seek(0)
    digest = hashlib.md5(usedforsecurity=False)
    while block := file.read(BLOCK):
        digest.update(block)
    return digest.hexdigest()
