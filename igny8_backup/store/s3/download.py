"""One S3 object becomes a stream that survives broken connections.

A body that breaks off or falls short is asked for again from the next byte on, of the same version.
"""

from __future__ import annotations

import re
import time
from contextlib import closing
from typing import Any

from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.store.base import MissingObjectError, UnreachableError
from igny8_backup.store.s3.bucket import Answer, Bucket
from igny8_backup.store.s3.errors import plain_words, status_of
from igny8_backup.streams import BLOCK, Blocks

ATTEMPTS = 5
"""How often in a row a connection may break without a single new block."""


def download(bucket: Bucket, key: str, *, pause: float) -> Blocks:
    """Stream the object. ``pause`` is the time in seconds before the first new attempt; it doubles.

    Raises MissingObjectError, UnreachableError when it breaks too often, IntegrityError when the object
    changed meanwhile or does not match its checksum.
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
            whole = offset == 0
            with closing(answer["Body"]) as body:
                while offset < size:
                    block = _read(bucket, key, body, size - offset)
                    offset += len(block)
                    failures = 0
                    yield block
                if whole:
                    _end(bucket, key, body)
            return
        except UnreachableError:
            answer = None
            failures += 1
            if failures > ATTEMPTS:
                raise
        time.sleep(pause * 2 ** (failures - 1))


def _read(bucket: Bucket, key: str, body: Any, left: int) -> bytes:
    with plain_words(f"read {key} from", bucket.place):
        block: bytes = body.read(min(BLOCK, left))
        if not block:
            raise ConnectionError("the body ended early")
    return block


def _end(bucket: Bucket, key: str, body: Any) -> None:
    """Read the end of a whole body: there botocore compares the checksum, if the server sent one.

    Never of a resumed body: rclone sends the checksum of the whole object with a part of it.
    """
    with plain_words(f"read {key} from", bucket.place):
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
    # Not the status: rclone answers 200 with the right bytes, so only Content-Range tells.
    given = answer.get("ContentRange", "")
    if offset and not re.fullmatch(rf"bytes {offset}-{size - 1}/({size}|\*)", given):
        answer["Body"].close()
        raise StorageError(
            f"{bucket.place} cannot continue {key} at byte {offset}: it answers with other bytes.",
            hint="Try again over a steadier connection, or use a server that honours Range requests.",
        )
    return answer


def _changed(bucket: Bucket, key: str) -> IntegrityError:
    return IntegrityError(
        f"{key} in {bucket.place} was changed or deleted while it was read.",
        hint="Find out what else writes to that bucket, and start again.",
    )
