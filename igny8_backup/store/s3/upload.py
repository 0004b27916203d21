"""A stream of unknown length, or a file, becomes one S3 object.

A file is put at once, read as it is sent, and a stream shorter than a part too. A longer one is cut into
parts of one size (some servers want them equal) that two threads send while the next is read: at most three
parts are in memory. S3 takes 10,000 parts, so the size of a part limits the size of the object: 8 MiB parts
(24 MiB of memory) reach 78 GiB, and the largest, 32 MiB (96 MiB of memory, which keeps a backup to S3 under
its ceiling of 256 MiB), 312 GiB.
Source: Amazon S3 User Guide, "Multipart upload limits".
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from io import BytesIO
from typing import BinaryIO

from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.store.s3.bucket import Bucket, Parameters, TakenError
from igny8_backup.streams import BLOCK, Blocks

logger = logging.getLogger(__name__)

MIB = 1 << 20
SMALLEST_PART = 8 * MIB
LARGEST_PART = 32 * MIB
MOST_PARTS = 10_000
WORKERS = 2


def part_size(estimate: int | None) -> int:
    """Bytes of a part for an object of at most about ``estimate`` bytes, with a tenth and more to spare.

    An estimate past what the largest parts can hold is no refusal: it is the size before compression.
    """
    expected = (estimate or 0) * 11 // 10
    fitting = -(-expected // (9_000 * MIB)) * MIB
    return min(max(SMALLEST_PART, fitting), LARGEST_PART)


def cut(blocks: Iterator[bytes], size: int) -> Iterator[BytesIO]:
    """Cut the stream into files of exactly ``size`` bytes; the last may be shorter, none is empty."""
    part = _room(size)
    for block in blocks:
        rest = memoryview(block)
        while rest:
            taken = rest[: size - part.tell()]
            part.write(taken)
            rest = rest[len(taken) :]
            if part.tell() == size:
                part.seek(0)
                yield part
                part = _room(size)
    if part.tell():
        part.truncate()
        part.seek(0)
        yield part


def _room(size: int) -> BytesIO:
    """Memory for so many bytes, had at once: what grows from block to block is copied and leaves holes."""
    part = BytesIO()
    part.seek(size - 1)
    part.write(b"\0")
    part.seek(0)
    return part


def upload(bucket: Bucket, key: str, blocks: Blocks, size: int) -> None:
    """Store the stream under ``key`` in parts of ``size`` bytes; nothing is left there if it fails.

    Raises what the source raises, StorageError, or IntegrityError when not all of it has arrived.
    """
    parts = cut(blocks, size)
    first = next(parts, None) or BytesIO()
    if _length(first) < size:
        upload_file(bucket, key, first)
    else:
        ahead = iter([first])
        del first  # or it would stay in memory to the end
        _put_parts(bucket, key, itertools.chain(ahead, parts))


def upload_file(bucket: Bucket, key: str, body: BinaryIO) -> None:
    """Put a file, on disk or in memory, under ``key`` at once; as ``upload`` otherwise."""
    size = _length(body)
    with _nothing_left(bucket, key):
        try:
            bucket.put(key, body, replace=False)
        except StorageError:
            if not _arrived(bucket, key, size, _md5_of(body)):
                raise
        _check(bucket, key, size)


def _put_parts(bucket: Bucket, key: str, parts: Iterator[BytesIO]) -> None:
    begun: list[str] = []
    try:
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="s3-part") as pool:
            # In a thread, to its end: a signal that came between the request and its answer would leave an
            # upload of which nobody knows the id.
            pool.submit(lambda: begun.append(bucket.begin(key))).result()
            (upload_id,) = begun
            sent, done = _send(bucket, key, upload_id, parts, pool)
        with _nothing_left(bucket, key):
            try:
                bucket.complete(key, upload_id, done)
            except StorageError:
                if not _arrived(bucket, key, sent, _etag_of(done)):
                    raise
            _check(bucket, key, sent)
    except BaseException:
        for left in begun:
            _abort(bucket, key, left)
        raise


def _abort(bucket: Bucket, key: str, upload_id: str) -> None:
    try:
        bucket.abort(key, upload_id)
    except StorageError as error:
        logger.warning("An unfinished upload is left and has to be aborted later: %s", error)


def _send(
    bucket: Bucket, key: str, upload_id: str, parts: Iterator[BytesIO], pool: ThreadPoolExecutor
) -> tuple[int, list[Parameters]]:
    """Send the parts as they come; their length in all, and what completing has to know of them."""
    done: list[Parameters] = []
    under_way: deque[Future[Parameters]] = deque()
    sent = 0
    for number, part in enumerate(parts, 1):
        if number > MOST_PARTS:
            raise StorageError(
                f"{key} is larger than {MOST_PARTS} parts, the most that S3 takes ({sent} bytes sent).",
                unchanged="The upload was aborted.",
                hint="Leave out the rows of large tables that can be made again (EXCLUDE_TABLE_DATA), or"
                " use a storage other than S3.",
            )
        if len(under_way) == WORKERS:
            done.append(under_way.popleft().result())
        sent += _length(part)
        under_way.append(pool.submit(bucket.send_part, key, upload_id, number, part))
    done.extend(future.result() for future in under_way)
    return sent, done


def _length(file: BinaryIO) -> int:
    # Not by getbuffer(): collecting a cycle that holds such a view, as the traceback of an error does, can
    # crash the interpreter (seen with CPython 3.12.1).
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    return length


@contextmanager
def _nothing_left(bucket: Bucket, key: str) -> Iterator[None]:
    """Around what brings the object into being: remove it when that fails, unless it is another's."""
    try:
        yield
    except TakenError:
        raise
    except BaseException:
        with suppress(StorageError):
            bucket.delete(key)
        raise


def _check(bucket: Bucket, key: str, sent: int) -> None:
    head = bucket.head(key)
    stored = None if head is None else head["ContentLength"]
    if stored != sent:
        raise IntegrityError(
            f"{sent} bytes were sent to {key} in {bucket.place}, which holds {stored or 'nothing'}.",
            unchanged="The object was removed.",
            hint="Try again; if it happens again, that storage cannot be used for backups.",
        )


def _arrived(bucket: Bucket, key: str, size: int, etag: str) -> bool:
    """Whether exactly this object is there all the same: the upload arrived and only the answer got lost."""
    try:
        head = bucket.head(key)
    except StorageError:
        return False
    return head is not None and head["ContentLength"] == size and head["ETag"].strip('"') == etag


def _etag_of(parts: list[Parameters]) -> str:
    """The ETag S3 gives an object of these parts; empty where theirs are not MD5 (some encryptions)."""
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
