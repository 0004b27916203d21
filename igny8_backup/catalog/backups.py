"""Find the backups and the runs in a store.

A backup exists only once its manifest exists. Backups are found by their exact id, never by a part of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice

from igny8_backup.catalog.failures import of_one_object
from igny8_backup.catalog.known_manifests import KnownManifests
from igny8_backup.catalog.lists import Lists
from igny8_backup.catalog.partial_copies import as_held
from igny8_backup.catalog.signatures import judge_manifest
from igny8_backup.conf import STORAGE_ALIAS
from igny8_backup.errors import IntegrityError, StorageError, UsageError
from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.run_record import SCHEMA, RunRecord
from igny8_backup.formats.manifest import Manifest
from igny8_backup.formats.manifest_reader import read_manifest
from igny8_backup.signing.trust import UNSIGNED, Trust, Verdict
from igny8_backup.store import MissingObjectError, Store

AT_ONCE = 128
"""The number of manifests or run records that a store may read ahead."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A backup: its manifest, or the reason why the manifest cannot be read.

    ``verdict`` is the result of checking the signature, and ``untrusted`` says why it is not trusted. If
    signatures are not required, ``verdict`` is ``None`` and ``untrusted`` is empty. ``manifest_sha256`` is
    the digest of the stored manifest.
    """

    id: str
    manifest: Manifest | None
    problem: str = ""
    untrusted: str = ""
    manifest_sha256: str = ""
    verdict: Verdict | None = None

    @property
    def started(self) -> datetime:
        """When the backup started. For an unreadable manifest, the id contains the time."""
        return self.manifest.started if self.manifest else keys.id_time(self.id)

    def is_described_by(self, manifest_sha256: str, kind: str, trust: Trust) -> bool:
        """Return whether a document that names the digest ``manifest_sha256`` applies to this backup.

        It does if the stored manifest has this digest, or says that it replaces the manifest with this
        digest: a rotation of recipients changes no data. Such a statement counts only if ``trust`` lets the
        key that signed the stored manifest sign documents of this ``kind`` too.
        """
        if manifest_sha256 == self.manifest_sha256:
            return True
        signer = self.verdict.signer if self.verdict and self.verdict.trusted else ""
        return manifest_sha256 in self._manifests and trust.signs_kind(signer, kind)

    def has_data_of(self, other: Entry) -> bool:
        """Return whether ``other``, an entry of the same id, has the same data. Recipients may differ."""
        same_host = self.manifest and other.manifest and self.manifest.host == other.manifest.host
        return self.manifest_sha256 == other.manifest_sha256 or bool(
            same_host and self._manifests & other._manifests
        )

    @property
    def _manifests(self) -> frozenset[str]:
        earlier = self.manifest.replaces if self.manifest and not self.untrusted else ()
        return frozenset({self.manifest_sha256, *earlier})


class Catalog:
    """The backups and runs in a store. Nothing that is encrypted is read, so no private key is needed.

    ``trust`` holds the trusted keys. If there are none, no signature is read. ``known`` remembers the
    manifests that this host trusted before. ``lists`` reads the lists that manifests name, each once.
    ``alias`` is the alias of the storage. Unless it is ``STORAGE_ALIAS``, the backups may be partial copies.
    """

    def __init__(
        self,
        store: Store,
        trust: Trust | None = None,
        known: KnownManifests | None = None,
        lists: Lists | None = None,
        alias: str = STORAGE_ALIAS,
    ) -> None:
        self._alias = alias
        self._store = store
        self._trust = trust or Trust()
        self._known = known
        self._lists = lists or Lists()

    def entries(self, ids: Iterable[str] | None = None) -> list[Entry]:
        """Return every backup, newest first. Raises ``StorageError`` if the storage cannot be used.

        If the storage fails to return one manifest, the entry of that backup has a ``problem``, and no error
        is raised. If the caller has listed the storage already, ``ids`` are the ids to look for; other
        backups are not returned.
        """
        found: list[Entry] = []
        complete = ids is None
        if ids is None:
            ids = (name.strip("/").rsplit("/", 1)[-1] for name in self._store.list_dirs(keys.BACKUPS))
        for some in _batches(filter(keys.is_id, ids)):
            self._read_manifests_ahead(some)
            found += filter(None, map(self._find, some))
        self._remember(found, complete)
        # Not sorted by id: ids have the time to the second only, and two backups may start in one second.
        return sorted(found, key=lambda entry: entry.started, reverse=True)

    def manifests(self) -> list[Manifest]:
        """Return the manifests that can be read, newest first."""
        return [entry.manifest for entry in self.entries() if entry.manifest]

    def get(self, backup_id: str) -> Manifest:
        """Return the manifest of a backup.

        Raises ``UsageError`` if the id is unknown, ``IntegrityError`` if the manifest is damaged.
        """
        if keys.is_id(backup_id):
            try:
                return self.parse(self._store.read_small(keys.manifest_key(backup_id)), backup_id)
            except MissingObjectError:
                pass
        raise UsageError(
            f"There is no backup {backup_id!r} in {self._store.describe()}.",
            hint="List the ids with: python manage.py list_backups.",
        )

    def parse(self, document: bytes, backup_id: str) -> Manifest:
        """Return the manifest whose stored bytes are ``document``, with the packs that its lists name.

        Raises ``IntegrityError`` if the manifest is damaged, ``StorageError`` if the storage cannot be used.
        A list that is damaged does not make the manifest unreadable: see ``Lists.with_packs``.
        """
        manifest = read_manifest(document, backup_id)
        if self._alias != STORAGE_ALIAS:
            manifest = as_held(self._store, self._trust, manifest, document)
        return self._lists.with_packs(self._store, manifest)

    def runs(
        self,
        listed: Iterable[str] | None = None,
        *,
        unread: dict[str, str] | None = None,
        damaged: list[str] | None = None,
        since: datetime | None = None,
    ) -> list[RunRecord]:
        """Return the records of all backup runs, newest first. Unreadable records are left out.

        If the storage fails to return a record, its key is added to ``unread``, with the reason. The id of a
        damaged record is added to ``damaged``. ``listed`` are the keys in the folder of the records, if the
        caller has listed it already. With ``since``, runs that began before that second are left out.
        """
        since = since and since.replace(microsecond=0)
        names = (stored.key for stored in self._store.list(keys.RUNS)) if listed is None else listed
        parsed = (found for found in map(keys.parse, names) if found and found.kind == "run")
        ids = (item.backup_id for item in parsed if not since or keys.id_time(item.backup_id) >= since)
        found = []
        for some in _batches(ids):
            self._read_runs_ahead(some)
            for backup_id in some:
                try:
                    if record := self.run(backup_id):
                        found.append(record)
                    elif damaged is not None and self._store.exists(keys.run_key(backup_id)):
                        damaged.append(backup_id)
                except StorageError as error:
                    problem = of_one_object(self._store, error)
                    if unread is not None:
                        unread[keys.run_key(backup_id)] = problem
        return sorted(found, key=lambda record: record.started, reverse=True)

    def run(self, backup_id: str) -> RunRecord | None:
        """Return the record of the run that made a backup, or ``None`` if it is missing or unreadable."""
        try:
            data = self._store.read_small(keys.run_key(backup_id))
            return records.from_json(RunRecord, data, name=f"Run {backup_id}", schema=SCHEMA)
        except (MissingObjectError, IntegrityError):
            return None

    def run_of_task(self, task_id: str) -> RunRecord | None:
        """Return the newest run record of a Celery task. A task that was delivered twice can have two."""
        ending = f"-{keys.task_token(task_id)}.json"
        named = [stored.key for stored in self._store.list(keys.RUNS) if stored.key.endswith(ending)]
        for parsed in map(keys.parse, sorted(named, reverse=True)):
            record = self.run(parsed.backup_id) if parsed else None
            if record and record.task_id == task_id:
                return record
        return None

    def _read_manifests_ahead(self, ids: Iterable[str]) -> None:
        self._store.prefetch(map(keys.manifest_key, ids), signatures=self._trust.required)

    def _read_runs_ahead(self, ids: Iterable[str]) -> None:
        self._store.prefetch(map(keys.run_key, ids))

    def _find(self, backup_id: str) -> Entry | None:
        """Return the entry of a backup; ``None`` if it has no manifest: its run is active, or has failed.

        Raises ``StorageError`` if the storage cannot be used at all.
        """
        try:
            return self._entry(backup_id, self._store.read_small(keys.manifest_key(backup_id)))
        except MissingObjectError:
            return None
        except IntegrityError as error:  # not a file, or larger than any manifest
            return Entry(id=backup_id, manifest=None, problem=str(error))
        except StorageError as error:
            return Entry(id=backup_id, manifest=None, problem=of_one_object(self._store, error))

    def _entry(self, backup_id: str, document: bytes) -> Entry:
        digest = hashlib.sha256(document).hexdigest()
        try:
            manifest = self.parse(document, backup_id)
        except IntegrityError as error:
            return Entry(id=backup_id, manifest=None, problem=str(error), manifest_sha256=digest)
        found = Entry(id=backup_id, manifest=manifest, manifest_sha256=digest)
        if not self._trust.required:
            return found
        verdict = judge_manifest(self._store, self._trust, self._known, manifest, document)
        return replace(found, untrusted=verdict.problem, verdict=verdict)

    def _remember(self, entries: Iterable[Entry], complete: bool) -> None:
        """Remember on this host which manifests are trusted. ``complete``: ``entries`` are all that exist."""
        if self._known is None or not self._trust.required:
            return
        judged = [(entry, entry.verdict) for entry in entries if entry.verdict]
        trusted = {entry.id: entry.manifest_sha256 for entry, verdict in judged if verdict.trusted}
        unsigned = {entry.id: entry.manifest_sha256 for entry, verdict in judged if verdict == UNSIGNED}
        if complete:
            self._known.add_listing(trusted=trusted, unsigned=unsigned)
        else:
            self._known.add(trusted=trusted)


def _batches(ids: Iterable[str]) -> Iterator[list[str]]:
    """Yield ``ids`` in lists of at most ``AT_ONCE``."""
    remaining = iter(ids)
    while some := list(islice(remaining, AT_ONCE)):
        yield some
