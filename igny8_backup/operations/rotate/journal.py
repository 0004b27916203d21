"""The journal of a rotation of recipients: the objects that were stored with a new header.

The journal is a private file in ``STATE_DIR``, one for each storage, with one JSON document on each line. If
a rotation is interrupted, the next one with the same recipients stores only what is missing. Without the
journal it would store everything again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from igny8_backup.common.filesystem import replace_file, sync, write_all
from igny8_backup.errors import FilesError, IntegrityError
from igny8_backup.formats import records
from igny8_backup.formats.lists import ListedObject
from igny8_backup.formats.objects import StoredObject
from igny8_backup.operations.context import BackupContext

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of the journal. The first line has the ``token`` and the ``recipients`` of the rotation.

    There are two kinds of other lines. Some record that an object was stored with a new header: ``key`` and
    ``sha256`` name the old object, and ``made`` describes the new one. Some record that a manifest is about
    to be stored: ``key`` is its key, and ``document`` is its text.
    """

    schema: int = SCHEMA
    token: str = ""
    recipients: tuple[str, ...] = ()
    key: str = ""
    sha256: str = ""
    made: ListedObject | None = None
    document: str = ""


@dataclass
class Journal:
    """The journal of one rotation. ``token`` is in the keys of all objects that the rotation stores.

    ``documents`` are the manifests that the interrupted rotation has stored, or was about to store, by key.
    """

    path: Path
    token: str
    recipients: tuple[str, ...]
    made: dict[tuple[str, str], ListedObject] = field(default_factory=dict)
    documents: dict[str, bytes] = field(default_factory=dict)

    def begin(self) -> None:
        """Write the journal anew, with the objects that it contains so far. Raises ``FilesError``.

        A killed process can have left half a line, which this removes. The manifests in ``documents`` are not
        written again, because the caller has finished what an interrupted rotation had begun with them.
        """
        lines = [Line(token=self.token, recipients=self.recipients)]
        lines += [Line(key=key, sha256=sha256, made=made) for (key, sha256), made in self.made.items()]
        with self._writing():
            replace_file(self.path, b"".join(map(_text, lines)))

    def find(self, item: StoredObject) -> ListedObject | None:
        """Return the object that was stored with a new header for ``item``, or ``None``."""
        return self.made.get((item.key, item.sha256))

    def add(self, item: StoredObject, made: ListedObject) -> None:
        """Record that ``made`` was stored for ``item``. Raises ``FilesError``."""
        self.made[item.key, item.sha256] = made
        self._append(Line(key=item.key, sha256=item.sha256, made=made))

    def add_document(self, key: str, document: bytes) -> None:
        """Record a manifest that is about to be stored under ``key``. Raises ``FilesError``."""
        self._append(Line(key=key, document=document.decode()))

    def end(self) -> None:
        """Delete the journal."""
        with suppress(FileNotFoundError):
            self.path.unlink()

    def _append(self, line: Line) -> None:
        with self._writing():
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
            try:
                write_all(descriptor, _text(line))
                sync(descriptor)
            finally:
                os.close(descriptor)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise FilesError(
                f"The journal {self.path} cannot be written: {error.strerror}.",
                hint="Set IGNY8_BACKUP['STATE_DIR'] to a private folder with space on a persistent volume."
                " Then run the command again.",
            ) from None


def _text(line: Line) -> bytes:
    return json.dumps(records.to_plain(line), sort_keys=True).encode() + b"\n"


def open_journal(context: BackupContext, recipients: Iterable[str]) -> Journal:
    """Return the journal of an interrupted rotation to these recipients, or else a new journal.

    ``documents`` of the result are the manifests that an interrupted rotation has begun to store, even if
    that rotation was to other recipients.
    """
    digest = hashlib.sha256(context.store.identity().encode()).hexdigest()[:16]
    path = context.config.state_dir / "rotations" / f"{digest}.jsonl"
    wanted = tuple(sorted(recipients))
    lines = _read(path)
    found = Journal(path, context.token(), wanted)
    if lines and lines[0].recipients == wanted and len(lines[0].token) == len(found.token):
        found.token = lines[0].token
        found.made = {(line.key, line.sha256): line.made for line in lines if line.made}
    found.documents = {line.key: line.document.encode() for line in lines if line.document}
    return found


def _read(path: Path) -> list[Line]:
    """Return the lines of a journal before the first damaged line. A killed process can leave half a line."""
    found: list[Line] = []
    with suppress(OSError, IntegrityError):
        for text in path.read_bytes().splitlines():
            found.append(records.from_json(Line, text, name=str(path), schema=SCHEMA))
    return found
