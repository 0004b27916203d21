"""Verify the objects of one backup and store the result with the backup."""

from __future__ import annotations

import hashlib
from contextlib import closing

from igny8_backup.catalog.annotations import read_annotations
from igny8_backup.errors import IdentityError, IntegrityError
from igny8_backup.formats import keys
from igny8_backup.formats.annotations import ALTERED, CONTENT, MISSING, UNREADABLE
from igny8_backup.formats.manifest import Manifest, StoredObject, read_manifest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.verify.content import Reader, TreeIndexes, read_content
from igny8_backup.operations.verify.result import CheckRecorder, Finding, VerifyRequest, VerifyResult
from igny8_backup.operations.verify.sample import sample
from igny8_backup.store import MissingObjectError
from igny8_backup.streams.age import Identity
from igny8_backup.streams.observe import count, verified


class SharedResults:
    """The findings in objects that several backups share, so that each is read once. Must be closed.

    The keys of ``present`` are the objects whose existence was checked, those of ``read`` the objects that
    were read. Each value is the damage found, or ``None``.
    """

    def __init__(self) -> None:
        self.present: dict[StoredObject, Finding | None] = {}
        self.read: dict[StoredObject, Finding | None] = {}
        self.indexes = TreeIndexes(on_contradiction=self._read_again)

    def _read_again(self, item: StoredObject) -> None:
        """Forget that a pack (tar archive) was found undamaged, because a later index contradicts this."""
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
        self.check = CheckRecorder(context, manifest, depth=request.depth, sample=request.sample)
        self.identities: list[Identity] = []
        if request.depth == CONTENT:
            self.identities = context.identities(request.identity_file, needed=manifest.encrypted)

    def run(self) -> VerifyResult:
        objects = {item.key: item for item in self.manifest.objects()}
        self.check_manifest()
        present = {key: item for key, item in objects.items() if self.is_present(item)}
        chosen = {key: present[key] for key in self.choose(present)}
        total = sum(item.stored_bytes for item in chosen.values() if item not in self.shared.read)
        self.context.progress.begin(f"backup {self.manifest.id}", total)
        try:
            if self.request.depth == CONTENT:
                read_content(self.context, self.manifest, set(chosen), self.attempt, self.shared.indexes)
            else:
                for item in chosen.values():
                    if not self.has_read(item):
                        self.check_stored(item)
                        self.shared.read[item] = self.check.findings.get(item.key)
        finally:
            self.context.progress.end()
        return self.check.record()

    def check_manifest(self) -> None:
        """Compare the manifest with the digest in the run record, if there is one."""
        key = keys.manifest_key(self.manifest.id)
        data = self.context.store.read_small(key)
        read_manifest(data, self.manifest.id)
        self.check.count(len(data))
        run = self.context.catalog.run(self.manifest.id)
        if run and run.manifest_sha256 and run.manifest_sha256 != hashlib.sha256(data).hexdigest():
            self.check.add_finding(
                key, ALTERED, f"{key} differs from the manifest that the backup run wrote."
            )

    def is_present(self, item: StoredObject) -> bool:
        """Return whether the object exists with its recorded size; otherwise add a finding."""
        if item not in self.shared.present:
            self.check_presence(item)
            self.shared.present[item] = self.check.findings.get(item.key)
        elif finding := self.shared.present[item]:
            self.check.findings[item.key] = finding
        return item.key not in self.check.findings

    def check_presence(self, item: StoredObject) -> None:
        try:
            size = self.context.store.size(item.key)
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
        annotations = read_annotations(self.context.store, self.manifest.id).get(self.manifest.id)
        checks = annotations.checks if annotations else ()
        damaged = {damage.key for check in checks for damage in check.damage}
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
            self.check.count(item.stored_bytes)
        return True

    def check_stored(self, item: StoredObject) -> bool:
        """Read the stored bytes. Return whether they are those that were written; otherwise add a finding."""
        key = item.key
        blocks = verified(self.context.store.open(key), sha256=item.sha256, size=item.stored_bytes, name=key)
        try:
            with closing(count(blocks, self.context.progress.advance)) as counted:
                for _ in counted:
                    pass
        except MissingObjectError as error:
            self.check.add_finding(key, MISSING, error.what)
        except IntegrityError as error:
            self.check.add_finding(key, ALTERED, error.what)
        if key not in self.check.findings:
            self.check.count(item.stored_bytes)
        return key not in self.check.findings

    def attempt(self, item: StoredObject, reader: Reader) -> bool:
        """Read the content of an object with ``reader``, unless it was read for another backup.

        Returns whether the object is undamaged.
        """
        if item.key in self.check.findings:
            return False  # the index of a tree may be missing and not chosen, but needed for a pack
        if self.has_read(item):
            return item.key not in self.check.findings
        good = self.read_object(item, reader)
        finding = self.check.findings.get(item.key)
        # "Unreadable" may be the fault of this backup's index, so other backups read the object again.
        if finding is None or finding.damage.kind != UNREADABLE:
            self.shared.read[item] = finding
        return good

    def read_object(self, item: StoredObject, reader: Reader) -> bool:
        """Read the content of an object; if this fails, check the digest of the stored bytes."""
        try:
            reader(self.context.download(item, self.identities))
        except (MissingObjectError, IntegrityError, IdentityError) as error:
            if self.check_stored(item):
                if isinstance(error, IdentityError):
                    raise
                self.check.add_finding(item.key, UNREADABLE, f"{item.key}: {error.what}")
            return False
        self.context.progress.advance(item.stored_bytes)
        self.check.count(item.stored_bytes)
        return True
