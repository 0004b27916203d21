"""Combine stages: encode and decode the objects in storage, and connect streams to files and memory.

Entry points: ``Codec`` and ``decode``, ``from_bytes``, ``from_file``, ``write_file``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from igny8_backup.common.filesystem import write_all
from igny8_backup.errors import FilesError, IdentityError, IntegrityError
from igny8_backup.streams import BLOCK, Blocks, Views, age, zstd

if TYPE_CHECKING:
    from igny8_backup.streams.age import Identity


@dataclass(frozen=True)
class Codec:
    """The encoding of stored objects: compression, then encryption if there are recipients."""

    level: int = zstd.DEFAULT_LEVEL
    recipients: tuple[str, ...] = ()
    workers: int = zstd.DEFAULT_WORKERS

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the compression and encryption in the order of use, as the manifest records them."""
        return ("zstd", "age") if self.recipients else ("zstd",)

    @property
    def suffix(self) -> str:
        """The suffix of the keys of encoded objects, for example ``.zst.age``."""
        return ".zst.age" if self.recipients else ".zst"

    def encode(self, blocks: Views) -> Blocks:
        """Return the stream to store: ``blocks``, compressed and encrypted."""
        return self._encrypt(zstd.compress(blocks, level=self.level, workers=self.workers))

    def encode_at_once(self, content: bytes | memoryview) -> Blocks:
        """Return the stream to store: ``content``, compressed by the consumer's thread, and encrypted.

        ``content`` must not change until the first block is yielded.
        """
        return self._encrypt(zstd.compress_at_once(content, level=self.level))

    def _encrypt(self, compressed: Blocks) -> Blocks:
        return age.encrypt(compressed, self.recipients) if self.recipients else compressed


def decode(blocks: Blocks, names: Sequence[str], identities: Sequence[Identity] = ()) -> Blocks:
    """Decode stored bytes; the inverse of ``Codec.encode``.

    ``names`` are those of ``Codec.names``; ``identities`` are the age keys to try for decryption. Before
    anything is read, raises ``IntegrityError`` for an unknown or repeated codec and ``IdentityError`` if an
    identity is needed and none is given. While blocks are read, raises the errors of ``age.decrypt`` and
    ``zstd.decompress``.
    """
    unknown = [name for name in names if name not in ("zstd", "age")]
    if unknown:
        blocks.close()
        raise IntegrityError(
            "The manifest names a compression or encryption that this release does not know:"
            f" {unknown[0]!r}.",
            hint="Install the release of igny8_backup that wrote the backup, or a later one.",
        )
    if len(set(names)) < len(names):
        blocks.close()
        raise IntegrityError(
            "The manifest names the same compression or encryption twice, which no release writes."
        )
    if "age" in names and not identities:
        blocks.close()
        raise IdentityError(
            "The backup is encrypted and no identity is given.",
            hint="Give the file that generate_backup_key wrote: --identity FILE.",
        )
    for name in reversed(names):
        blocks = age.decrypt(blocks, identities) if name == "age" else zstd.decompress(blocks)
    return blocks


def from_bytes(data: bytes) -> Blocks:
    """Yield ``data`` in blocks."""
    for start in range(0, len(data), BLOCK):
        yield data[start : start + BLOCK]


def from_file(path_or_fd: str | os.PathLike[str] | int) -> Blocks:
    """Yield the content of a file, given by its path or an open descriptor. Raises ``FilesError``."""
    try:
        fd = path_or_fd if isinstance(path_or_fd, int) else os.open(path_or_fd, os.O_RDONLY)
        try:
            while block := os.read(fd, BLOCK):
                yield block
        finally:
            if not isinstance(path_or_fd, int):
                os.close(fd)
    except OSError as error:
        name = f"descriptor {path_or_fd}" if isinstance(path_or_fd, int) else os.fspath(path_or_fd)
        raise _files_error("read", name, error) from None


def write_file(blocks: Blocks, fd: int, *, name: str) -> None:
    """Write the stream to an open descriptor. Raises ``FilesError`` and the exceptions of the stream.

    ``name`` says in messages what is written and where, for example "the dump to /scratch".
    """
    with contextlib.closing(blocks):
        for block in blocks:
            try:
                write_all(fd, block)
            except OSError as error:
                raise _files_error("write", name, error) from None


def _files_error(verb: str, name: str, error: OSError) -> FilesError:
    return FilesError(
        f"Could not {verb} {name}: {error.strerror}.",
        hint="Check the path, its permissions and the free space, then run the command again.",
    )
