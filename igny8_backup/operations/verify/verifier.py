"""Verify the objects of one backup, and store the result in the same storage."""

from __future__ import annotations

import hashlib

from igny8_backup.catalog.checked import part_keys
from igny8_backup.catalog.failures import of_one_object
from igny8_backup.errors import IdentityError, IntegrityError, StorageError
from igny8_backup.formats import keys
from igny8_backup.formats.documents.annotations import ALTERED, CONTENT, MISSING, UNREADABLE
from igny8_backup.formats.manifest import Manifest
from igny8_backup.formats.manifest_reader import read_manifest
from igny8_backup.formats.objects import StoredObject
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.read import recorded_damage
from igny8_backup.operations.verify.attempt import Reader
from igny8_backup.operations.verify.content import TreeIndexes, read_content
from igny8_backup.operations.verify.result import CheckRecorder, Finding, VerifyRequest, VerifyResult
from igny8_backup.operations.verify.sample import sample
from igny8_backup.store import MissingObjectError
from igny8_backup.store.intact import size_with_versions
from igny8_backup.streams.age import Identity


class SharedResults:
    """The findings in objects that several backups share, so that each is read once. Must be closed.

    The keys of ``present`` are the objects whose existence was checked, those of ``read`` the objects that
    were read. Each value is the damage found, or ``None``. ``unread`` has the reason for each object
    that could not be read because the storage failed. ``noted`` are the warnings that were shown.
    """

    def __init__(self) -> None:
        self.present: dict[StoredObject, Finding | None] = {}
        self.read: dict[StoredObject, Finding | None] = {}
        self.unread: dict[StoredObject, str] = {}
        self.noted: set[str] = set()
        self.indexes = TreeIndexes(on_contradiction=self._read_again)
        self._recorded: frozenset[str] | None = None

    def recorded_damage(self, context: BackupContext) -> frozenset[str]:
        """Return the keys of all objects that checks of any backup report as damaged, signed or not.

        A verification of a sample always reads these objects. If it left them out, its result would look as
        if they were repaired.
        """
        if self._recorded is None:
            self._recorded = recorded_damage(context)
        return self._recorded

    def _read_again(self, item: StoredObject) -> None:
        """Forget that a pack (tar archive) was found undamaged: a later index describes it differently."""
        if item in self.read and self.read[item] is None:
            del self.read[item]

    def close(self) -> None:
        self.indexes.close()


class Verifier:
    """Verifies one backup. Call :meth:`run` once."""

    def __init__(
        self, context: BackupContext, request: VerifyRequest, manifest: Manifest, shared: SharedResults
    ) -> None:
        self.context = context
        self.request = request
        self.manifest = manifest
        self.shared = shared
        damaged, parts = shared.recorded_damage(context), part_keys(manifest)
        # What was found damaged is read again. Otherwise the result would look as if it was repaired.
        self.only = request.only | damaged if request.only else frozenset()
        self.check = CheckRecorder(
            context,
            manifest,
            depth=request.depth,
            parts=[part for part, needed in parts.items() if not self.only or needed & self.only],
            sample=request.sample,
            damaged=damaged,
        )
        self.identities: list[Identity] = []
        if request.depth == CONTENT:
            self.identities = context.identities(request.identity_file, needed=manifest.encrypted)

    def run(self) -> VerifyResult:
        every = self.manifest.objects()
        objects = {item.key: item for item in every if not self.only or item.key in self.only}
        self.check_manifest()
        present = {key: item for key, item in objects.items() if self.is_present(item)}
        chosen = {key: present[key] for key in self.choose(present)}
        total = sum(item.stored_bytes for item in chosen.values() if item not in self.shared.read)
        self.context.progress.begin(f"backup {self.manifest.id}", total)
        try:
            undecoded = list(chosen.values())
            if self.request.depth == CONTENT:
                read_content(
                    self.context,
                    self.manifest,
                    self.identities,
                    set(chosen),
                    self.attempt,
                    self.shared.indexes,
                )
                undecoded = [item for item in self.manifest.lists() if item.key in chosen]
            for item in undecoded:
                if not self.has_read(item) and self.read_stored(item) is not None:
                    self.shared.read[item] = self.check.findings.get(item.key)
        finally:
            self.context.progress.end()
        return self.check.record()

    def check_manifest(self) -> None:
        """Compare the manifest with the digest in the run record, if there is one.

        Run records are not signed, so a manifest with a trusted signature is not compared. Raises
        ``IntegrityError`` if the manifest has changed since the verification began.
        """
        key = keys.manifest_key(self.manifest.id)
        data = self.context.store.read_small(key)
        if read_manifest(data, self.manifest.id) != self.manifest.as_stored():
            raise IntegrityError(
                f"The manifest of backup {self.manifest.id} changed while it was read.",
                unchanged="No result was recorded.",
                hint="Find out who writes to the storage, then run the command again.",
            )
        self.check.count_manifest(data)
        entry = next(iter(self.context.catalog.entries([self.manifest.id])), None)
        if entry and entry.verdict and entry.verdict.trusted:
            return
        run = self.context.catalog.run(self.manifest.id)
        if run and run.manifest_sha256 and run.manifest_sha256 != hashlib.sha256(data).hexdigest():
            self.check.add_finding(
                key, ALTERED, f"{key} differs from the manifest that the backup run wrote."
            )

    def is_present(self, item: StoredObject) -> bool:
        """Return whether the object exists with its recorded size; otherwise add a finding.

        An object that could not be read when another backup was verified is not requested again.
        """
        if item in self.shared.unread:
            self.check.unread[item.key] = self.shared.unread[item]
            return False
        if item not in self.shared.present:
            try:
                self.check_presence(item)
            except StorageError as error:
                self.add_unread(item, error)
                return False
            self.shared.present[item] = self.check.findings.get(item.key)
        elif finding := self.shared.present[item]:
            self.check.findings[item.key] = finding
        return item.key not in self.check.findings

    def add_unread(self, item: StoredObject, error: StorageError) -> None:
        """Record that an object could not be read. Raises ``error`` if the storage cannot be used at all."""
        text = of_one_object(self.context.store, error)
        self.check.unread[item.key] = self.shared.unread[item] = text

    def check_presence(self, item: StoredObject) -> None:
        try:
            size = size_with_versions(self.context.store, item.key, item.stored_bytes)
        except MissingObjectError as error:
            self.check.add_finding(item.key, MISSING, str(error))
            return
        if size != item.stored_bytes:
            self.check.add_finding(
                item.key, ALTERED, f"{item.key} has {size} bytes, not {item.stored_bytes}."
            )

    def choose(self, present: dict[str, StoredObject]) -> list[str]:
        """Return the keys of the objects to read: the sample of the day and those found damaged before."""
        keys_of_day = sample(present, self.request.sample, self.check.started.toordinal())
        damaged = self.shared.recorded_damage(self.context)
        return [key for key in present if key in keys_of_day or key in damaged]

    def has_read(self, item: StoredObject) -> bool:
        """Return whether the object was already read for another backup in this run.

        If so, the result of that read is also recorded in the check of this backup.
        """
        if item not in self.shared.read:
            return False
        if finding := self.shared.read[item]:
            self.check.findings[item.key] = finding
        else:
            self.check.add_sound(item)
        return True

    def read_stored(self, item: StoredObject) -> bool | None:
        """Read the stored bytes. Return whether they are those that were written; otherwise add a finding.

        Returns ``None`` if the storage failed.
        """
        try:
            return self.check.read_stored(item, self.context.progress.advance)
        except StorageError as error:
            self.add_unread(item, error)
            return None

    def attempt(self, item: StoredObject, reader: Reader) -> bool:
        """Read the content of an object with ``reader``, unless it was already read for another backup.

        Returns whether the object could be read and is undamaged.
        """
        if item.key in self.check.findings or item.key in self.check.unread:
            return False  # the index of a tree may be missing and not chosen, but needed for a pack
        if self.has_read(item):
            return item.key not in self.check.findings
        good = self.read_object(item, reader)
        finding = self.check.findings.get(item.key)
        if item.key in self.check.unread:
            return False
        # "Unreadable" may be the fault of this backup's index, so other backups read the object again.
        if finding is None or finding.damage.kind != UNREADABLE:
            self.shared.read[item] = finding
        return good

    def read_object(self, item: StoredObject, reader: Reader) -> bool:
        """Decrypt, decompress and read the content of an object; return whether that succeeded.

        After a failure, the stored bytes are compared with their digest, to tell an altered object from one
        whose content cannot be read, and a finding is added. Raises ``IdentityError`` if the object cannot be
        decrypted although its stored bytes are right: the identity is then the wrong one.
        """
        try:
            reader(self.context.download(item, self.identities))
        except (MissingObjectError, IntegrityError, IdentityError) as error:
            if self.read_stored(item):
                if isinstance(error, IdentityError):
                    raise
                self.check.add_finding(item.key, UNREADABLE, f"{item.key}: {error.what}")
            return False
        except StorageError as error:
            self.add_unread(item, error)
            return False
        self.context.progress.advance(item.stored_bytes)
        self.check.add_sound(item)
        return True
