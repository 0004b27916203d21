"""Upload a stream of unknown length, or a file, as one S3 object.

A file, or a stream that is shorter than one part, is sent in one request. A longer stream is split into parts
of equal size (some servers require that). Two threads send parts while the next part is read, so at most
three parts are in memory. S3 accepts 10,000 parts for each object: parts of 8 MiB (24 MiB of memory) allow 78
GiB, parts of 32 MiB (96 MiB of memory) allow 312 GiB. Source: Amazon S3 User Guide, "Multipart upload
limits".

An upload that fails is aborted here. ``prune_backups`` aborts uploads that a killed run left
(``operations.maintain.pruning.sweep``).
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from typing import BinaryIO

from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.store.objects import ObjectExistsError
from igny8_backup.store.s3.arrived import has_content, has_parts, length_of, put
from igny8_backup.store.s3.requests.bucket import Bucket, Parameters
from igny8_backup.store.s3.versions import remove_written
from igny8_backup.streams import Blocks
from igny8_backup.streams.interrupts import submit
from igny8_backup.streams.stop import Stop

logger = logging.getLogger(__name__)

MIB = 1 << 20
SMALLEST_PART = 8 * MIB
LARGEST_PART = 32 * MIB
MOST_PARTS = 10_000
WORKERS = 2


def part_size(estimate: int | None) -> int:
    """Return the size of a part in bytes, for an object that is at most ten percent above ``estimate`` bytes.

    An estimate above the limit of S3 is no error, because it is the size before compression.
    """
    expected = (estimate or 0) * 11 // 10
    fitting = -(-expected // (9_000 * MIB)) * MIB
    return min(max(SMALLEST_PART, fitting), LARGEST_PART)


def cut(blocks: Iterator[bytes], size: int) -> Iterator[BytesIO]:
    """Split a stream into files in memory of ``size`` bytes; only the last may be shorter, none is empty."""
    part = _allocate(size)
    for block in blocks:
        rest = memoryview(block)
        while rest:
            piece = rest[: size - part.tell()]
            part.write(piece)
            rest = rest[len(piece) :]
            if part.tell() == size:
                part.seek(0)
                yield part
                part = _allocate(size)
    if part.tell():
        part.truncate()
        part.seek(0)
        yield part


def _allocate(size: int) -> BytesIO:
    """Return a file in memory with ``size`` bytes allocated at once.

    A buffer that grows is copied each time, and fragments the memory.
    """
    part = BytesIO()
    part.seek(size - 1)
    part.write(b"\0")
    part.seek(0)
    return part


def upload(bucket: Bucket, key: str, blocks: Blocks, size: int) -> None:
    """Store the stream ``blocks`` in parts of ``size`` bytes; after a failure delete the object.

    Raises ``StorageError``, ``IntegrityError`` if not all bytes have arrived, and the exceptions of
    ``blocks``.
    """
    parts = cut(blocks, size)
    first = next(parts, None) or BytesIO()
    if length_of(first) < size:
        upload_file(bucket, key, first)
    else:
        ahead = iter([first])
        del first  # frees the memory of the part early
        _put_parts(bucket, key, itertools.chain(ahead, parts))


def upload_file(bucket: Bucket, key: str, body: BinaryIO) -> None:
    """Store the file ``body`` in one request; after a failure remove the object.

    Raises the same errors as ``upload``.
    """
    size = length_of(body)
    with _nothing_left(bucket, key):
        with _unless(lambda: has_content(bucket, key, body)):
            put(bucket, key, body, replace=False)
        _check(bucket, key, size)


def _put_parts(bucket: Bucket, key: str, parts: Iterator[BytesIO]) -> None:
    upload_ids: list[str] = []
    stop = Stop()
    bucket = replace(bucket, stop=stop)
    try:
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="s3-part") as pool, stop.on_failure():
            # Begin in a thread, because signals interrupt only the main thread: an interrupt between the
            # request and its answer would leave an upload with an unknown id.
            submit(pool, lambda: upload_ids.append(bucket.begin(key))).result()
            (upload_id,) = upload_ids
            sent, done = _send(bucket, key, upload_id, parts, pool)
        with _nothing_left(bucket, key):
            with _unless(lambda: has_parts(bucket, key, sent, done)):
                bucket.complete(key, upload_id, done)
            _check(bucket, key, sent)
    except BaseException:
        for upload_id in upload_ids:
            _abort(bucket, key, upload_id)
        raise


def _abort(bucket: Bucket, key: str, upload_id: str) -> None:
    try:
        bucket.abort(key, upload_id)
    except StorageError as error:
        logger.warning("An unfinished upload could not be aborted; prune_backups does it later: %s", error)


def _send(
    bucket: Bucket, key: str, upload_id: str, parts: Iterator[BytesIO], pool: ThreadPoolExecutor
) -> tuple[int, list[Parameters]]:
    """Send the parts. Return their total size in bytes and their entries for ``Bucket.complete``."""
    done: list[Parameters] = []
    running: deque[Future[Parameters]] = deque()
    sent = 0
    for number, part in enumerate(parts, 1):
        if number > MOST_PARTS:
            raise StorageError(
                f"{key} needs more than {MOST_PARTS} parts, the limit of S3 ({sent} bytes were sent).",
                unchanged="The upload was aborted.",
                hint="Exclude the rows of large tables that can be rebuilt (EXCLUDE_TABLE_DATA), or use a"
                " storage other than S3.",
            )
        if len(running) == WORKERS:
            done.append(running.popleft().result())
        sent += length_of(part)
        running.append(submit(pool, bucket.send_part, key, upload_id, number, part))
    done.extend(future.result() for future in running)
    return sent, done


@contextmanager
def _nothing_left(bucket: Bucket, key: str) -> Iterator[None]:
    """If the ``with`` block fails, delete the object ``key``, unless another process has created it."""
    try:
        yield
    except ObjectExistsError:
        raise
    except BaseException:
        remove_written(bucket, key)
        raise


def _check(bucket: Bucket, key: str, sent: int) -> None:
    head = bucket.head(key)
    stored = None if head is None else head["ContentLength"]
    if stored != sent:
        raise IntegrityError(
            f"{sent} bytes were sent to {key}, but {bucket.place} has stored {stored or 0} bytes.",
            hint="Run the backup again; the new run does not use this object. If it fails again, use"
            " another storage.",
        )


@contextmanager
def _unless(arrived: Callable[[], bool]) -> Iterator[None]:
    """Suppress the error of a request if ``arrived`` shows that it succeeded and only its answer was lost."""
    try:
        yield
    except ObjectExistsError as error:
        if not (error.repeated and arrived()):
            raise
    except StorageError:
        if not arrived():
            raise
