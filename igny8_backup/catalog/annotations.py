"""Read the annotations of backups, and read and write the marks on orphans.

Annotations are pins, checks, spot checks, acceptances of suspect copies, and releases of safety backups. An
orphan is an object that belongs to no backup. Its mark says since when.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeAlias

from igny8_backup.catalog.backups import Entry
from igny8_backup.catalog.failures import of_one_object
from igny8_backup.catalog.signatures import judge_document
from igny8_backup.catalog.stored_checks import StoredCheck, read_checks
from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.formats import keys, records
from igny8_backup.formats.acceptance import Acceptance
from igny8_backup.formats.documents.annotations import (
    SCHEMA,
    Annotations,
    DamageRecord,
    Mark,
    Marks,
    ObjectDamage,
    Pin,
    Release,
)
from igny8_backup.formats.documents.spot_check import UNPROVEN, SpotCheck, SpotFinding
from igny8_backup.signing.trust import ACCEPTANCE, CHECK, PIN, RELEASE, Trust, part_token
from igny8_backup.store import MissingObjectError, Store

Document: TypeAlias = Acceptance | Pin | Release | SpotCheck


def read_annotations(
    store: Store,
    backup_id: str = "",
    *,
    trust: Trust | None = None,
    entries: Iterable[Entry] = (),
    listed: Iterable[str] | None = None,
    checks: Mapping[str, Sequence[StoredCheck]] | None = None,
    unread: dict[str, str] | None = None,
    now: datetime | None = None,
) -> dict[str, Annotations]:
    """Return, by the id of the backup, the annotations of all backups, or only those of ``backup_id``.

    ``trust`` holds the trusted keys. If there are any, ``entries`` are the backups with their manifests, and
    annotations other than pins count only with a trusted signature. ``listed`` (the keys in the folders of
    the backups) and ``checks`` are given by a caller that has read them already. Backups without annotations
    are absent.

    A pin that cannot be read still counts as a pin. A spot check that is damaged or not trusted is replaced
    by a spot check with an alarm for each database and tree. Other damaged annotations are ignored. If the
    storage fails to return an annotation, its key is added to ``unread``, with the reason. With ``now``, a
    check dated after ``now`` does not replace the newest check that is dated earlier.
    """
    if listed is None:
        found = store.list(keys.backup_folder(backup_id) if backup_id else keys.BACKUPS)
        listed = [stored.key for stored in found]
    names, trust = sorted(listed), trust or Trust()
    known = {entry.id: entry for entry in entries}
    if checks is None:
        checks = read_checks(
            store, backup_id, trust=trust, entries=known, listed=names, unread=unread, now=now
        )
    made: defaultdict[str, dict[str, Any]] = defaultdict(lambda: {"doubts": []})
    reader = _Reader(store, trust, known, {} if unread is None else unread)
    read = [(key, item) for key in names if (item := keys.parse(key)) is not None and item.kind in _KINDS]
    store.prefetch((key for key, _ in read), signatures=trust.required)
    for key, parsed in read:
        owner, (kind, signed_as) = parsed.backup_id, _KINDS[parsed.kind]
        value, problem = reader.read(kind, signed_as, owner, key)
        if kind is Pin:
            made[owner]["pin"] = value or _unreadable_pin(owner)
            if value and problem:
                made[owner]["doubts"].append(f"The pin holds, although {problem}.")
        elif kind is SpotCheck:
            if value is None or problem:
                spot = value if isinstance(value, SpotCheck) else None
                value = _doubted_spot_check(known.get(owner), spot, problem or "it cannot be read", now)
            made[owner]["spot"] = value
        elif value and problem:
            made[owner]["doubts"].append(f"Its {parsed.kind} does not count: {problem}.")
        elif value:
            made[owner][parsed.kind] = value
    for owner in _signed_spot_checks(names):
        if "spot" not in made[owner]:
            made[owner]["spot"] = _doubted_spot_check(known.get(owner), None, "it was deleted", now)
    for owner, stored in checks.items():
        made[owner]["checks"] = tuple(item.check for item in stored if not item.problem)
        made[owner]["reported"] = tuple(item.check for item in stored if item.problem)
        made[owner]["doubts"] += [
            f"Its check {item.check.depth} of {item.check.started:%Y-%m-%d %H:%M} UTC proves nothing:"
            f" {item.problem}."
            for item in stored
            if item.problem
        ]
    return {
        owner: Annotations(**{**values, "doubts": tuple(values["doubts"])})
        for owner, values in made.items()
        if len(values) > 1 or values["doubts"]
    }


_KINDS: Mapping[str, tuple[type[Document], str]] = {
    "pin": (Pin, PIN),
    "acceptance": (Acceptance, ACCEPTANCE),
    "release": (Release, RELEASE),
    "spot": (SpotCheck, CHECK),
}
"""For each kind of key, the class of its document, and the kind of document that its signature names."""


@dataclass(frozen=True)
class _Reader:
    """Reads documents about backups and judges their signatures."""

    store: Store
    trust: Trust
    entries: Mapping[str, Entry]
    unread: dict[str, str]

    def read(
        self, kind: type[Document], signed_as: str, backup_id: str, key: str
    ) -> tuple[Document | None, str]:
        """Read a document; return it, and why its signature is not trusted (empty if it is).

        The document is ``None`` if it cannot be read or belongs to another backup.
        """
        try:
            data = self.store.read_small(key)
            found = records.from_json(kind, data, name=key, schema=SCHEMA)
            if found.id != backup_id:
                return None, ""
            return found, self._problem(found, signed_as, key, data)
        except (MissingObjectError, IntegrityError):
            return None, ""
        except StorageError as error:
            self.unread[key] = of_one_object(self.store, error)
            return None, ""

    def _problem(self, found: Document, signed_as: str, key: str, data: bytes) -> str:
        if not self.trust.required:
            return ""
        entry = self.entries.get(found.id)
        if entry is None or entry.manifest is None:
            return "the manifest of the backup cannot be read"
        host, parts = entry.manifest.host, [part_token(one.kind, one.name) for one in entry.manifest.parts]
        if isinstance(found, Acceptance):
            parts = [part_token(one.kind, one.name) for one in found.parts]
            parts += [part_token(one.kind, one.name) for one in found.judged]
        problem = judge_document(self.store, self.trust, key, signed_as, data, host=host, parts=parts).problem
        if not (
            problem
            or isinstance(found, Pin)
            or entry.is_described_by(found.manifest_sha256, signed_as, self.trust)
        ):
            return "it is about another version of the manifest"
        return problem


def read_marks(store: Store) -> tuple[Mark, ...]:
    """Return the marks that the last ``prune_backups`` put on orphans. A later run deletes marked orphans.

    The result is empty if the marks cannot be read. The next ``prune_backups`` then marks all orphans anew.
    """
    try:
        found = records.from_json(Marks, store.read_small(keys.MARKS), name="The marks", schema=SCHEMA)
    except (MissingObjectError, IntegrityError):
        return ()
    except StorageError as error:
        of_one_object(store, error)
        return ()
    return found.marks


MARKS_LIMIT = 50_000
"""At most this many marks are stored, because a larger record could not be read. A later run adds more."""


def write_marks(store: Store, marks: tuple[Mark, ...]) -> None:
    """Replace the marks on orphans (objects that belong to no backup) in ``store`` by ``marks``."""
    if marks:
        marks = marks[:MARKS_LIMIT]
        store.put_small(keys.MARKS, records.to_json(Marks(schema=SCHEMA, marks=marks)))
    else:
        store.delete(keys.MARKS)


def read_old_damage(store: Store, *, unread: dict[str, str] | None = None) -> tuple[ObjectDamage, ...]:
    """Return the damage of removed backups that earlier releases of this package recorded.

    The result is empty if the record is missing or damaged. If the storage fails to return the record, its
    key is added to ``unread``, with the reason.
    """
    try:
        data = store.read_small(keys.DAMAGE)
        found = records.from_json(DamageRecord, data, name="The damage record", schema=SCHEMA)
    except (MissingObjectError, IntegrityError):
        return ()
    except StorageError as error:
        problem = of_one_object(store, error)
        if unread is not None:
            unread[keys.DAMAGE] = problem
        return ()
    return found.damage


def _signed_spot_checks(names: Iterable[str]) -> set[str]:
    """Return the ids of the backups with a signature of a spot check among the object keys ``names``."""
    return {
        parsed.backup_id
        for key in names
        if key.startswith(keys.BACKUPS)
        and (parsed := keys.parse(key))
        and (parsed.kind, parsed.name) == ("signature", CHECK)
    }


def _doubted_spot_check(
    entry: Entry | None, found: SpotCheck | None, problem: str, now: datetime | None
) -> SpotCheck | None:
    """Return a spot check that has an alarm for each part of the backup ``entry``.

    It is used instead of the stored record ``found``, which is missing or proves nothing: ``problem`` says
    why. Somebody may have put ``found`` in place of a record with alarms. The alarms of ``found`` are kept
    too, because a false alarm can only keep backups from being deleted.
    """
    if entry is None or entry.manifest is None:
        return found
    when = now or (found.finished if found else entry.started)
    text = f"the record of spot_check proves nothing: {problem}. Run spot_check again, then accept its alarms"
    made = found or SpotCheck(
        schema=SCHEMA, id=entry.id, host=entry.manifest.host, started=when, finished=when
    )
    alarms = (
        SpotFinding(kind=part.kind, name=part.name, cause=UNPROVEN, text=text, found=when)
        for part in entry.manifest.parts
    )
    return replace(made, findings=(*made.findings, *alarms))


def _unreadable_pin(backup_id: str) -> Pin:
    reason = "the reason cannot be read"
    return Pin(schema=SCHEMA, id=backup_id, reason=reason, pinned=keys.id_time(backup_id))
