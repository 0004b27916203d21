"""One backup looked at, object by object; the result is kept beside it."""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from igny8_backup.annotation_store import read_annotations
from igny8_backup.errors import IdentityError, IntegrityError, StorageError, UsageError
from igny8_backup.formats import keys, records
from igny8_backup.formats.annotations import (
    ALTERED,
    CONTENT,
    MISSING,
    SCHEMA,
    STORED,
    UNREADABLE,
    Annotations,
    Check,
    Damage,
)
from igny8_backup.formats.manifest import Manifest, StoredObject, read_manifest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.verify.content import Lists, Reader, read_content
from igny8_backup.operations.verify.sample import sample
from igny8_backup.store import MissingObjectError
from igny8_backup.streams.age import Identity
from igny8_backup.streams.observe import count, verified


@dataclass(frozen=True, kw_only=True)
class VerifyRequest:
    """``backup_id`` is empty for the newest. ``sample`` is the share of the objects to read, in percent:
    others each day."""

    backup_id: str = ""
    depth: str = STORED
    sample: int = 100
    identity_file: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something wrong with an object: what the check records of it, and a sentence that may name files."""

    damage: Damage
    text: str


@dataclass(frozen=True, kw_only=True)
class VerifyResult:
    """The check; what it found in words; why it is not recorded, if it could not be."""

    check: Check
    findings: tuple[Finding, ...]
    unrecorded: str = ""

    def problems(self) -> list[str]:
        """What was found, and why it is not recorded, a line each."""
        lines = [f"{finding.damage.kind.upper()}: {finding.text}" for finding in self.findings]
        if self.unrecorded:
            lines.append(f"The result could not be recorded: {self.unrecorded}")
        return lines


class Looked:
    """What a run has found of objects that several backups share: what is wrong with each that it looked for
    and, in ``read``, with each that it read; ``None`` where all is well. Close it."""

    def __init__(self) -> None:
        self.present: dict[StoredObject, Finding | None] = {}
        self.read: dict[StoredObject, Finding | None] = {}
        self.lists = Lists(forget=self._forget)

    def _forget(self, item: StoredObject) -> None:
        """That all was well with it, by the lists so far; what was altered stays so."""
        if item in self.read and self.read[item] is None:
            del self.read[item]

    def close(self) -> None:
        self.lists.close()


class Verification:
    """Of one backup, by its ``manifest``. ``run`` it once."""

    def __init__(
        self, context: BackupContext, request: VerifyRequest, manifest: Manifest, looked: Looked
    ) -> None:
        self.context = context
        self.request = request
        self.manifest = manifest
        self.looked = looked
        self.started = context.clock()
        self.identities: list[Identity] = []
        if request.depth == CONTENT:
            self.identities = context.identities(request.identity_file, needed=manifest.encrypted)
        self.findings: dict[str, Finding] = {}
        self.read = 0
        self.bytes = 0

    def run(self) -> VerifyResult:
        objects = {item.key: item for item in self.manifest.objects()}
        self.check_manifest()
        present = {key: item for key, item in objects.items() if self.is_present(item)}
        chosen = {key: present[key] for key in self.chosen(present)}
        total = sum(item.stored_bytes for item in chosen.values() if item not in self.looked.read)
        self.context.progress.begin(f"backup {self.manifest.id}", total)
        try:
            if self.request.depth == CONTENT:
                read_content(self.context, self.manifest, set(chosen), self.attempt, self.looked.lists)
            else:
                for item in chosen.values():
                    if not self.has_read(item):
                        self.check_stored(item)
                        self.looked.read[item] = self.findings.get(item.key)
        finally:
            self.context.progress.end()
        return self.record(len(objects) + 1)

    def check_manifest(self) -> None:
        """Against what its run wrote down, where that is known."""
        key = keys.manifest_key(self.manifest.id)
        data = self.context.store.read_small(key)
        read_manifest(data, self.manifest.id)
        self.read += 1
        self.bytes += len(data)
        run = self.context.catalog.run(self.manifest.id)
        if run and run.manifest_sha256 and run.manifest_sha256 != hashlib.sha256(data).hexdigest():
            self.found(key, ALTERED, f"{key} is not what its run wrote.")

    def is_present(self, item: StoredObject) -> bool:
        if item not in self.looked.present:
            self.look_for(item)
            self.looked.present[item] = self.findings.get(item.key)
        elif finding := self.looked.present[item]:
            self.findings[item.key] = finding
        return item.key not in self.findings

    def look_for(self, item: StoredObject) -> None:
        try:
            size = self.context.store.size(item.key)
        except MissingObjectError as error:
            self.found(item.key, MISSING, str(error))
            return
        if size != item.stored_bytes:
            self.found(item.key, ALTERED, f"{item.key} has {size} bytes, not {item.stored_bytes}.")

    def chosen(self, present: dict[str, StoredObject]) -> list[str]:
        keys_of_day = sample(present, self.request.sample, self.started.toordinal())
        annotations = read_annotations(self.context.store, self.manifest.id).get(
            self.manifest.id, Annotations()
        )
        doubtful = {damage.key for check in annotations.checks for damage in check.damage}
        return [key for key in present if key in keys_of_day or key in doubtful]

    def has_read(self, item: StoredObject) -> bool:
        """Whether this run has read it for another backup; then takes down what was found."""
        if item not in self.looked.read:
            return False
        if finding := self.looked.read[item]:
            self.findings[item.key] = finding
        else:
            self.read += 1
            self.bytes += item.stored_bytes
        return True

    def check_stored(self, item: StoredObject) -> bool:
        """Reads the stored bytes to the end; whether they are those that were written."""
        key = item.key
        blocks = verified(self.context.store.open(key), sha256=item.sha256, size=item.stored_bytes, name=key)
        try:
            with closing(count(blocks, self.context.progress.advance)) as counted:
                for _ in counted:
                    pass
        except MissingObjectError as error:
            self.found(key, MISSING, str(error))
        except IntegrityError as error:
            self.found(key, ALTERED, str(error))
        if key in self.findings:
            return False
        self.read += 1
        self.bytes += item.stored_bytes
        return True

    def attempt(self, item: StoredObject, reader: Reader) -> bool:
        """Reads the content of an object, unless this run has; whether all is well with it."""
        if item.key in self.findings:
            return False  # an index that is read for the sake of a pack
        if self.has_read(item):
            return item.key not in self.findings
        well = self.read_through(item, reader)
        finding = self.findings.get(item.key)
        if finding is None or finding.damage.kind != UNREADABLE:  # by the index of this backup, that is
            self.looked.read[item] = finding
        return well

    def read_through(self, item: StoredObject, reader: Reader) -> bool:
        """Where reading fails, the stored bytes tell whether they were altered."""
        try:
            reader(self.context.download(item, self.identities))
        except (MissingObjectError, IntegrityError, IdentityError) as error:
            if self.check_stored(item):
                if isinstance(error, IdentityError):
                    raise
                self.found(item.key, UNREADABLE, f"{item.key}: {error}")
            return False
        self.context.progress.advance(item.stored_bytes)
        self.read += 1
        self.bytes += item.stored_bytes
        return True

    def found(self, key: str, kind: str, text: str) -> None:
        self.findings[key] = Finding(damage=Damage(key=key, kind=kind), text=text)

    def record(self, objects: int) -> VerifyResult:
        findings = tuple(self.findings.values())
        check = Check(
            schema=SCHEMA,
            id=self.manifest.id,
            depth=self.request.depth,
            started=self.started,
            finished=self.context.clock(),
            sample=self.request.sample,
            objects=objects,
            read=self.read,
            bytes=self.bytes,
            damage=tuple(finding.damage for finding in findings),
        )
        unrecorded = ""
        try:
            # Read once more: what prune_backups has removed meanwhile was not lost.
            if not self.context.store.exists(keys.manifest_key(self.manifest.id)):
                raise UsageError(
                    f"Backup {self.manifest.id} was removed while it was read.",
                    unchanged="No result was recorded.",
                    hint="See what there is: python manage.py list_backups.",
                )
            key = keys.check_key(self.manifest.id, self.started, self.request.depth)
            self.context.store.put_small(key, records.to_json(check))
        except StorageError as error:
            unrecorded = str(error)
        return VerifyResult(check=check, findings=findings, unrecorded=unrecorded)
