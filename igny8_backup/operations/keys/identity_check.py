"""Find out which backups in storage an identity can decrypt. Only the header of each object is decrypted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from igny8_backup.catalog.backups import Entry
from igny8_backup.catalog.failures import of_one_object
from igny8_backup.common.humanize import count_in_words, listed
from igny8_backup.errors import IntegrityError, StorageError, UsageError
from igny8_backup.formats.objects import StoredObject
from igny8_backup.operations.context import BackupContext
from igny8_backup.store import MissingObjectError
from igny8_backup.streams.age import Identity, opens

OPENED, CLOSED, PLAIN, UNKNOWN = "opened", "closed", "unencrypted", "unknown"
STATES = (OPENED, CLOSED, PLAIN, UNKNOWN)
"""The states of a backup. ``OPENED``: the identity opens all encrypted objects. ``CLOSED``: it does not open
at least one object. ``PLAIN``: no object is encrypted. ``UNKNOWN``: the backup is not trusted, or its
manifest or a header could not be read."""


@dataclass(frozen=True, kw_only=True)
class BackupAccess:
    """Whether the identity opens one backup: ``state`` is one of ``STATES``.

    ``objects`` is the number of objects of the backup, ``opened`` the number that the identity opens.
    ``closed`` are the keys of the objects that the identity does not open. ``problems`` say what could not be
    read.
    """

    id: str
    state: str
    objects: int = 0
    opened: int = 0
    closed: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the result as one line, such as ``opened, 12 objects``."""
        total = count_in_words(self.objects, "object")
        if self.state == CLOSED:
            return f"NOT OPENED: {len(self.closed)} of {total}: {listed(self.closed)}"
        if self.state == UNKNOWN:
            return f"UNKNOWN: {listed(self.problems)}"
        return f"{self.state}, {total}"


@dataclass(frozen=True, kw_only=True)
class IdentityCheck:
    """The result for an identity file: its public keys, and the backups, newest first."""

    recipients: tuple[str, ...]
    backups: tuple[BackupAccess, ...]

    @property
    def complete(self) -> bool:
        """Whether the identity opens all encrypted backups, and there is at least one such backup."""
        states = {backup.state for backup in self.backups}
        return OPENED in states and not states & {CLOSED, UNKNOWN}


def check_identity(
    context: BackupContext, identity_file: Path | None, ids: tuple[str, ...] = ()
) -> IdentityCheck:
    """Find out whether the identities in a file open the backups ``ids``, or all backups.

    Reads the beginning of each encrypted object; an object that several backups share is read once. Raises
    ``IdentityError`` if the file cannot be used, ``UsageError`` for an unknown id, ``StorageError`` if the
    storage cannot be used at all.
    """
    identities = context.identities(identity_file, needed=True)
    entries = context.catalog.entries()
    if unknown := [backup_id for backup_id in ids if backup_id not in {entry.id for entry in entries}]:
        raise UsageError(
            f"There is no backup {unknown[0]!r} in {context.store.describe()}.",
            hint="List the ids with: python manage.py list_backups.",
        )
    headers = _Headers(context, identities)
    chosen = [entry for entry in entries if not ids or entry.id in ids]
    encrypted = {item.key for entry in chosen for item in _encrypted(entry)}
    context.progress.begin("identity", None, len(encrypted), "headers")
    try:
        found = tuple(_check(entry, headers) for entry in chosen)
    finally:
        context.progress.end()
    return IdentityCheck(recipients=tuple(item.recipient for item in identities), backups=found)


class _Headers:
    """The results for the headers that were read: whether the identities open them, or what went wrong."""

    def __init__(self, context: BackupContext, identities: list[Identity]) -> None:
        self._context = context
        self._identities = identities
        self._found: dict[str, bool | str] = {}

    def check(self, item: StoredObject) -> bool | str:
        if item.key not in self._found:
            self._found[item.key] = self._read(item.key)
            self._context.progress.advance(0, count=1)
        return self._found[item.key]

    def _read(self, key: str) -> bool | str:
        try:
            return opens(self._context.store.open(key), self._identities)
        except MissingObjectError:
            return f"{key} is missing"
        except IntegrityError as error:
            return f"{key}: {error.what}"
        except StorageError as error:
            return of_one_object(self._context.store, error)


def _encrypted(entry: Entry) -> list[StoredObject]:
    readable = entry.manifest.contents() if entry.manifest and not entry.untrusted else ()
    return [item for item in readable if "age" in item.codecs]


def _check(entry: Entry, headers: _Headers) -> BackupAccess:
    if entry.manifest is None:
        return BackupAccess(id=entry.id, state=UNKNOWN, problems=(entry.problem,))
    if entry.untrusted:
        problem = f"the backup is not trusted: {entry.untrusted}"
        return BackupAccess(id=entry.id, state=UNKNOWN, problems=(problem,))
    objects = {item.key: item for item in entry.manifest.contents()}
    found = {key: headers.check(item) for key, item in objects.items() if "age" in item.codecs}
    closed = tuple(key for key, opened in found.items() if opened is False)
    problems = tuple(opened for opened in found.values() if isinstance(opened, str))
    state = CLOSED if closed else UNKNOWN if problems else OPENED if found else PLAIN
    return BackupAccess(
        id=entry.id,
        state=state,
        objects=len(objects),
        opened=sum(opened is True for opened in found.values()),
        closed=closed,
        problems=problems,
    )
