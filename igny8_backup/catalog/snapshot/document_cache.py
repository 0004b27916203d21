"""Keep small objects of a storage (manifests, run records, signatures) in a private file in ``STATE_DIR``.

The file is a SQLite database. It only saves requests: nothing in it is believed unless the storage still
lists the object with the same size and tag, and the digest of the entry is right. Signatures are checked as
if the objects had been read from the storage. If the file is damaged or belongs to another storage, more
requests are sent, and nothing else happens.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import zlib
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from igny8_backup.common.filesystem import make_private
from igny8_backup.store import Stored

LARGEST_FILE = 512 << 20
"""Once the file has this size in bytes, nothing more is added."""

_TABLE = "CREATE TABLE IF NOT EXISTS documents (key TEXT PRIMARY KEY, digest BLOB, content BLOB)"
_KEYS_AT_ONCE = 500
_PASSING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL}
"""Errors of SQLite that do not mean that the file is damaged. A file that can be opened for writing, but that
SQLite calls read-only, has a damaged version number."""


class DocumentCache:
    """The small objects that this host has read from one storage, with the size and tag that each had.

    ``storage`` is the identity of the storage. Errors of the file are not raised: an object that cannot be
    read from the file is absent, and one that cannot be written to it is read from the storage next time.
    """

    def __init__(self, state_dir: Path, storage: str) -> None:
        digest = hashlib.sha256(storage.encode()).hexdigest()[:16]
        self._storage = storage
        self._file = state_dir / "documents" / f"{digest}.sqlite3"

    def read(self, listed: Iterable[Stored]) -> dict[str, bytes]:
        """Return, by key, the contents of the ``listed`` objects whose size and tag are those in the file."""
        wanted = {item.key: item for item in listed if item.tag}
        found: dict[str, bytes] = {}
        if not wanted:
            return found
        names = list(wanted)
        with self._errors_ignored(), self._transaction() as database:
            for start in range(0, len(names), _KEYS_AT_ONCE):
                some = names[start : start + _KEYS_AT_ONCE]
                marks = ", ".join("?" * len(some))
                rows = f"SELECT key, digest, content FROM documents WHERE key IN ({marks})"  # noqa: S608 - question marks only
                for key, digest, packed in database.execute(rows, some):
                    if key not in wanted:
                        raise sqlite3.DatabaseError("the index of the table leads to another row")
                    content = _unpacked(packed, wanted[key].size)
                    if self._digest(wanted[key], content) == digest:
                        found[key] = content
        return found

    def keys(self) -> set[str]:
        """Return the keys of all objects in the file, also of those that the storage has no more."""
        found: set[str] = set()
        with self._errors_ignored(), self._transaction() as database:
            found.update(key for (key,) in database.execute("SELECT key FROM documents"))
        return found

    def write(self, contents: Mapping[Stored, bytes], listed: Container[str] | None = None) -> bool:
        """Add the objects in ``contents``, and remove those whose keys are not in ``listed``, if it is given.

        ``listed`` are the keys of the objects that the storage has now. Returns whether the objects were
        added.
        """
        rows = [
            (item.key, self._digest(item, content), zlib.compress(content, 1))
            for item, content in contents.items()
            if item.tag
        ]
        if not rows or not self._has_room():
            return False
        added = False
        with self._errors_ignored():
            with self._transaction() as database:
                database.executemany("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", rows)
                if listed is not None:
                    known = [key for (key,) in database.execute("SELECT key FROM documents")]
                    gone = [(key,) for key in known if key not in listed]
                    database.executemany("DELETE FROM documents WHERE key = ?", gone)
            added = True
        return added

    def forget(self, folder: str) -> None:
        """Remove the objects whose keys begin with ``folder``, so that they are read from the storage."""
        with self._errors_ignored(), self._transaction() as database:
            database.execute("DELETE FROM documents WHERE substr(key, 1, ?) = ?", (len(folder), folder))

    def _digest(self, item: Stored, content: bytes) -> bytes:
        named = "\0".join((self._storage, item.key, str(item.size), item.tag, "")).encode()
        return hashlib.blake2b(named + content, digest_size=32).digest()

    def _has_room(self) -> bool:
        try:
            return self._file.stat().st_size < LARGEST_FILE
        except OSError:
            return True

    @contextmanager
    def _errors_ignored(self) -> Iterator[None]:
        """End the ``with`` block silently after an error of the file. A damaged file is removed."""
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _PASSING:
                with suppress(OSError):
                    self._file.unlink()
        except OSError:
            return

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Open the file for one transaction. Raises ``OSError`` and ``sqlite3.Error``."""
        make_private(self._file.parent)
        os.close(os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        with closing(sqlite3.connect(self._file, timeout=5)) as database:
            # A crash of the machine may damage the file, which costs requests only.
            database.execute("PRAGMA synchronous = OFF")
            with database:
                database.execute(_TABLE)
                yield database


def _unpacked(packed: object, size: int) -> bytes:
    """Return the decompressed content, cut off after ``size + 1`` bytes; empty if it is damaged."""
    try:
        return zlib.decompressobj().decompress(packed, size + 1)  # type: ignore[arg-type]  # else TypeError
    except (zlib.error, TypeError):
        return b""
