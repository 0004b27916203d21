"""The body of one request, which is closed when the request is given up."""

from __future__ import annotations

import io
import os
import threading
from types import TracebackType
from typing import BinaryIO, Self


class Body:
    """A file that boto3 reads from its beginning. After the ``with`` block, every method raises.

    A request that took too long may still be running in its thread after it was given up. That request must
    not read from the file while the next attempt reads it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._closed = False
        self.size = file.seek(0, os.SEEK_END)
        file.seek(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._closed = True

    def read(self, size: int = -1) -> bytes:
        with self._lock:
            return self._open_file().read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with self._lock:
            return self._open_file().seek(offset, whence)

    def tell(self) -> int:
        with self._lock:
            return self._open_file().tell()

    def _open_file(self) -> BinaryIO:
        if self._closed:
            raise io.UnsupportedOperation("the request was given up")
        return self._file
