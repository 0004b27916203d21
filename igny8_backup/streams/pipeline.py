"""Stages put together: what an object in storage is encoded with, and both ends of a stream."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from igny8_backup.errors import FilesError, IdentityError, IntegrityError
from igny8_backup.streams import BLOCK, Blocks, Views, age, zstd

if TYPE_CHECKING:
    from igny8_backup.streams.age import Identity

PathOrFd = str | os.PathLike[str] | int
"""A path, or an open descriptor that stays the caller's."""


@dataclass(frozen=True)
class Codec:
    """How objects are written: compressed, then encrypted to the recipients; without any, not encrypted."""

    level: int = zstd.DEFAULT_LEVEL
    recipients: tuple[str, ...] = ()
    workers: int = zstd.DEFAULT_WORKERS

    @property
    def names(self) -> tuple[str, ...]:
        """The codec chain in the order of writing, as the manifest records it."""
        return ("zstd", "age") if self.recipients else ("zstd",)

    @property
    def suffix(self) -> str:
        """What the object's name ends with."""
        return ".zst.age" if self.recipients else ".zst"

    def encode(self, blocks: Views) -> Blocks:
        """The bytes to store."""
        compressed = zstd.compress(blocks, level=self.level, workers=self.workers)
        return age.encrypt(compressed, self.recipients) if self.recipients else compressed


def decode(blocks: Blocks, names: Sequence[str], identities: Sequence[Identity] = ()) -> Blocks:
    """The content again; ``names`` is the codec chain of the manifest, ``identities`` may open it.

    Raises ``IntegrityError`` for a codec we do not know, ``IdentityError`` if an identity is needed; both at
    once, before anything is read. What the stages raise comes with the blocks.
    """
    unknown = [name for name in names if name not in ("zstd", "age")]
    if unknown:
        blocks.close()
        raise IntegrityError(f"The manifest names a codec that this version does not know: {unknown[0]!r}.")
    if "age" in names and not identities:
        blocks.close()
        raise IdentityError(
            "The backup is encrypted, and no identity is given.", hint="Give it with: --identity FILE"
        )
    for name in reversed(names):
        blocks = age.decrypt(blocks, identities) if name == "age" else zstd.decompress(blocks)
    return blocks


class BlockReader(io.BufferedIOBase):
    """Blocks as a file object that is read once, forwards.

    ``read(n)`` gives exactly ``n`` bytes except at the end. An error of the stream is raised again by every
    later ``read``: after it there is no end of file that somebody could take for the real one.
    """

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._block = b""
        self._offset = 0
        self._position = 0
        self._error: BaseException | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        """``size`` bytes, fewer at the end; without a size everything, which is for small streams only."""
        wanted = -1 if size is None else size
        pieces: list[bytes] = []
        while wanted and (piece := self.read1(wanted)):
            pieces.append(piece)
            wanted -= len(piece) if wanted > 0 else 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read1(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes of one block; none only at the end."""
        if self.closed:
            raise ValueError("read of a closed stream")
        if self._offset == len(self._block) and size:
            self._block, self._offset = self._next_block(), 0
        start = self._offset
        self._offset = len(self._block) if size < 0 else min(start + size, len(self._block))
        self._position += self._offset - start
        return self._block[start : self._offset]  # a whole block is not copied

    def _next_block(self) -> bytes:
        if self._error is not None:
            raise self._error
        try:
            # An empty block, which no source should give, is not the end either.
            return next((block for block in self._blocks if block), b"")
        except BaseException as error:
            self._error = error
            raise

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        """Bytes read so far."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Only to the start, and only while we are there: what Django and S3 clients do before an upload."""
        if (offset, whence, self._position) != (0, os.SEEK_SET, 0):
            raise io.UnsupportedOperation("a stream goes forwards only")
        return 0

    def close(self) -> None:
        """Stop everything behind the stream."""
        if not self.closed:
            try:
                self._blocks.close()
            finally:
                super().close()


def from_bytes(data: bytes) -> Blocks:
    """What is already in memory, as a stream."""
    for start in range(0, len(data), BLOCK):
        yield data[start : start + BLOCK]


def from_file(path_or_fd: PathOrFd) -> Blocks:
    """The content of a file, or what an open descriptor gives until its end. Raises ``FilesError``."""
    try:
        fd = path_or_fd if isinstance(path_or_fd, int) else os.open(path_or_fd, os.O_RDONLY)
        try:
            while block := os.read(fd, BLOCK):
                yield block
        finally:
            if not isinstance(path_or_fd, int):
                os.close(fd)
    except OSError as error:
        raise _files_error("read", _name(path_or_fd), error) from None


def write_file(blocks: Blocks, path_or_fd: PathOrFd, *, fsync: bool = False, name: str = "") -> int:
    """Write the stream to a new private file (0600), or to an open descriptor; return its size in bytes.

    A path must be free, and is free again if anything fails. ``fsync`` returns only when the content and,
    for a path, its name in the folder are on the disk. ``name`` is what errors call it, if not as it is
    called here. Raises ``FilesError`` and what the stream raises.
    """
    name = name or _name(path_or_fd)
    with contextlib.closing(blocks):
        if isinstance(path_or_fd, int):
            return _write(blocks, path_or_fd, name, fsync)
        try:
            fd = os.open(path_or_fd, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise _files_error("create", name, error) from None
        try:
            try:
                size = _write(blocks, fd, name, fsync)
            finally:
                os.close(fd)
            if fsync:
                _fsync_folder(os.path.dirname(os.path.abspath(path_or_fd)))
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(path_or_fd)
            raise
        return size


def _write(blocks: Blocks, fd: int, name: str, fsync: bool) -> int:
    size = 0
    for block in blocks:
        try:
            rest = memoryview(block)
            while rest:
                rest = rest[os.write(fd, rest) :]
        except OSError as error:
            raise _files_error("write", name, error) from None
        size += len(block)
    if fsync:
        try:
            os.fsync(fd)
        except OSError as error:
            raise _files_error("write", name, error) from None
    return size


def _fsync_folder(path: str) -> None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise _files_error("write", path, error) from None


def _name(target: PathOrFd) -> str:
    return f"descriptor {target}" if isinstance(target, int) else os.fspath(target)


def _files_error(verb: str, name: str, error: OSError) -> FilesError:
    return FilesError(f"Could not {verb} {name}: {error.strerror}.")
