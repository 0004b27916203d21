"""Download an S3 object as a stream that survives broken connections.

If the body ends early, the download is resumed at the next byte of the same version.
"""

from __future__ import annotations

import re
import time
from contextlib import closing
from typing import Any

from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.store.base import MissingObjectError, UnreachableError
from igny8_backup.store.s3.bucket import Answer, Bucket
from igny8_backup.store.s3.errors import status_of, translated_errors
from igny8_backup.streams import BLOCK, Blocks

ATTEMPTS = 5
"""How often the connection may break in succession without a new block before the download fails."""


def download(bucket: Bucket, key: str, *, pause: float) -> Blocks:
    """Yield the content of the object ``key``.

    ``pause`` is the wait before the first new attempt in seconds; the wait doubles with each further attempt.
    Raises ``MissingObjectError``, ``UnreachableError`` if the connection breaks too often, and
    ``IntegrityError`` if the object changes meanwhile or does not match its checksum.
    """
    first = bucket.get(key)
    etag, size = first["ETag"], first["ContentLength"]
    answer: Answer | None = first
    offset = 0
    failures = 0
    while True:
        try:
            if answer is None:
                answer = _resume(bucket, key, offset, etag, size)
            from_start = offset == 0
            with closing(answer["Body"]) as body:
                while offset < size:
                    block = _read(bucket, key, body, size - offset)
                    offset += len(block)
                    failures = 0
                    yield block
                if from_start:
                    _verify_checksum(bucket, key, body)
            return
        except UnreachableError:
            answer = None
            failures += 1
            if failures > ATTEMPTS:
                raise
        time.sleep(pause * 2 ** (failures - 1))


def _read(bucket: Bucket, key: str, body: Any, left: int) -> bytes:
    with translated_errors(f"read {key} from", bucket.place):
        block: bytes = body.read(min(BLOCK, left))
        if not block:
            raise ConnectionError("the body ended early")
    return block


def _verify_checksum(bucket: Bucket, key: str, body: Any) -> None:
    """Read to the end of ``body``, where botocore compares the checksum if the server sent one.

    Only a complete body can be verified: with a part of an object, the server of rclone sends the checksum of
    the complete object.
    """
    with translated_errors(f"read {key} from", bucket.place):
        body.read(1)


def _resume(bucket: Bucket, key: str, offset: int, etag: str, size: int) -> Answer:
    try:
        answer = bucket.get(key, offset, etag)
    except MissingObjectError as error:
        raise _changed(bucket, key) from error
    except StorageError as error:
        if status_of(error.__cause__) in (412, 416):
            raise _changed(bucket, key) from error
        raise
    if answer["ETag"] != etag:
        answer["Body"].close()
        raise _changed(bucket, key)
    # The status is not reliable, because rclone answers 200 with the right bytes; Content-Range is.
    given = answer.get("ContentRange", "")
    if offset and not re.fullmatch(rf"bytes {offset}-{size - 1}/({size}|\*)", given):
        answer["Body"].close()
        raise StorageError(
            f"{bucket.place} cannot continue {key} at byte {offset}: the server returns other bytes.",
            hint="Try again over a more reliable connection, or use a server that supports Range requests.",
        )
    return answer


def _changed(bucket: Bucket, key: str) -> IntegrityError:
    return IntegrityError(
        f"{key} in {bucket.place} was changed or deleted while it was read.",
        hint="Find out what else writes to that bucket, then run the command again.",
    )
