"""Download an S3 object as a stream that can be resumed after a broken connection."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from igny8_backup.common.deadline import within
from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.store.objects import MissingObjectError, UnreachableError
from igny8_backup.store.retry import SLOWEST
from igny8_backup.store.s3 import ranges
from igny8_backup.store.s3.requests.bucket import Answer, Bucket
from igny8_backup.store.s3.requests.errors import status_of, translated_errors
from igny8_backup.streams import BLOCK, Blocks


class Download:
    """The download of the object ``key``: a function that yields the content from an offset on.

    ``version`` is the id of the version to read. If it is empty, the first call reads the current version,
    and later calls continue with the same version. Each call can raise ``MissingObjectError``, or
    ``IntegrityError`` if the object has changed since the first call or does not match its checksum.
    ``UnreachableError`` means that the connection broke: call the function again with the offset that was
    reached. Large objects are read in ranges, several of them at a time: see :mod:`ranges`.
    """

    def __init__(self, bucket: Bucket, key: str, version: str = "") -> None:
        self._bucket = bucket
        self._key = key
        self._version = version
        self._etag = ""
        self._size = -1

    def __call__(self, offset: int) -> Blocks:
        if 0 < self._size == offset:
            return  # only the comparison with the checksum of the server was missing
        answer = self._resume(offset) if self._size >= 0 else self._begin()
        from_start, large = offset == 0, self._size - offset >= ranges.LARGE
        with _closing(answer["Body"]) as body:
            if large:
                yield from self._in_ranges(body, offset)
                return
            while offset < self._size:
                block = self._read(body, min(BLOCK, self._size - offset))
                offset += len(block)
                yield block
            if from_start:
                self._verify_checksum(body)

    def _in_ranges(self, body: Any, offset: int) -> Blocks:
        """Read one range from ``body``, which begins at ``offset``, and the others side by side with it.

        If the server does not return ranges, all is read from ``body``. The checksum of the server is not
        compared, because it is that of the complete object: whoever reads knows the digest of the object.
        """
        end = offset + ranges.RANGE
        stopped = self._bucket.retry.call
        with ranges.Ranges(
            self._open_range,
            self._read,
            repeat=lambda fetch, stop: stopped(fetch, stop=stop),
            shut_down=_shut_down,
            start=end,
            end=self._size,
        ) as others:
            while offset < end:
                block = self._read(body, min(BLOCK, end - offset))
                offset += len(block)
                yield block
            try:
                others.require()
            except ranges.NoRangesError:
                end = self._size
            else:
                body.close()
                yield from others.blocks()
        while offset < end:
            block = self._read(body, min(BLOCK, end - offset))
            offset += len(block)
            yield block

    def _open_range(self, start: int, end: int) -> Any:
        answer = self._get_part(start, end)
        given = answer.get("ContentRange", "")
        if not re.fullmatch(rf"bytes {start}-{end - 1}/({self._size}|\*)", given):
            answer["Body"].close()
            what = f"{self._bucket.place} returns other bytes of {self._key} than those requested."
            raise ranges.NoRangesError(what)
        return answer["Body"]

    def _begin(self) -> Answer:
        answer = self._bucket.get(self._key, version=self._version)
        self._etag, self._size = answer["ETag"], answer["ContentLength"]
        return answer

    def _resume(self, offset: int) -> Answer:
        bucket, key = self._bucket, self._key
        answer = self._get_part(offset)
        # The status is not reliable, because rclone answers 200 with the right bytes; Content-Range is.
        given = answer.get("ContentRange", "")
        if offset and not re.fullmatch(rf"bytes {offset}-{self._size - 1}/({self._size}|\*)", given):
            answer["Body"].close()
            raise StorageError(
                f"The download of {key} from {bucket.place} broke off at byte {offset} and cannot be"
                " resumed, because the server returns other bytes.",
                hint="Use a more reliable connection, or a server that supports Range requests.",
            )
        return answer

    def _get_part(self, start: int, end: int | None = None) -> Answer:
        """Request the bytes from ``start`` on, up to ``end``. Raises an error if the object has changed."""
        try:
            answer = self._bucket.get(self._key, start, self._etag, self._version, end)
        except MissingObjectError as error:
            raise self._changed() from error
        except StorageError as error:
            if status_of(error.__cause__) in (412, 416):
                raise self._changed() from error
            raise
        if answer["ETag"] != self._etag:
            answer["Body"].close()
            raise self._changed()
        return answer

    def _read(self, body: Any, size: int) -> bytes:
        with translated_errors(f"read {self._key} from", self._bucket.place):
            limit = self._bucket.retry.answer_seconds + size / SLOWEST
            block: bytes = within(limit, lambda: body.read(size), name="s3-read")
            if not block:
                raise ConnectionError("the body ended early")
        return block

    def _verify_checksum(self, body: Any) -> None:
        """Read to the end of ``body``, where botocore compares the checksum if the server sent one.

        Call this only if the body is the complete object. With a part of an object, the S3 server of rclone
        sends the checksum of the complete object, which does not match.
        """
        with translated_errors(f"read {self._key} from", self._bucket.place):
            within(self._bucket.retry.answer_seconds, lambda: body.read(1), name="s3-read")

    def _changed(self) -> IntegrityError:
        return IntegrityError(
            f"{self._key} in {self._bucket.place} was changed or deleted while it was read.",
            hint="Find out what else writes to that bucket, then run the command again.",
        )


@contextmanager
def _closing(body: Any) -> Iterator[Any]:
    """Close ``body`` after the ``with`` block.

    After a read that took too long, another thread still holds the lock of the body, and ``close`` would wait
    for it. So the connection is shut down first. urllib3 before 2.3 cannot do that; the body then stays open
    until the thread ends.
    """
    try:
        yield body
    except UnreachableError as error:
        stuck = isinstance(error.__cause__, TimeoutError)
        if stuck and not _shut_down(body):
            raise
        body.close()
        raise
    except BaseException:
        body.close()
        raise
    body.close()


def _shut_down(body: Any) -> bool:
    """End every read of the connection behind ``body``; return whether that was possible."""
    shutdown = getattr(getattr(body, "_raw_stream", None), "shutdown", None)
    if shutdown is None:
        return False
    with suppress(OSError, RuntimeError, ValueError):
        shutdown()
    return True
