"""Whether a backup is still what was written, and can be read; the result is kept beside it."""

from __future__ import annotations

import hashlib
import math
import secrets
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from igny8_backup import keys, records
from igny8_backup.errors import IdentityError, IntegrityError, StorageError, UsageError
from igny8_backup.manifest import COMPLETE, INCOMPLETE, Manifest, StoredObject, read_manifest
from igny8_backup.operations.assembly import Toolkit
from igny8_backup.operations.content import Reader, read_content
from igny8_backup.remarks import ALTERED, CONTENT, MISSING, SCHEMA, STORED, UNREADABLE, Check, Damage
from igny8_backup.store import MissingObjectError
from igny8_backup.streams.age import Identity
from igny8_backup.streams.observe import count, verified


@dataclass(frozen=True, kw_only=True)
class VerifyRequest:
    """``backup_id`` is empty for the newest. ``sample`` is the share of the objects to read, in percent."""

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

    def troubles(self) -> list[str]:
        """What was found, and why it is not recorded, a line each."""
        lines = [f"{finding.damage.kind.upper()}: {finding.text}" for finding in self.findings]
        if self.unrecorded:
            lines.append(f"The result could not be recorded: {self.unrecorded}")
        return lines


def verify(kit: Toolkit, request: VerifyRequest) -> VerifyResult:
    """Looks at every object of one backup, and reads a ``sample`` of them, by default all.

    Takes no lock: it changes nothing but that it adds its result. Raises ``UsageError`` for an unknown id,
    ``IntegrityError`` for a manifest that is lost or cannot be read, ``StorageError`` where the storage does
    not answer; for the depth ``content`` also ``IdentityError``, ``FilesError``, ``ToolMissingError``,
    ``ToolTooOldError``.
    """
    backup_id = request.backup_id or newest_backup(kit)
    return _Verification(kit, request, _known(kit, backup_id)).run()


def newest_backup(kit: Toolkit) -> str:
    """The id of the newest backup. Raises ``UsageError`` where there is none."""
    entries = kit.catalog.entries()
    if not entries:
        raise UsageError(
            f"There is no backup in {kit.store.describe()}.",
            untouched="Nothing was read.",
            fix="Make one: python manage.py backup_all.",
        )
    # What is dated in the future is not the newest, as long as there is another.
    return next((entry for entry in entries if entry.started <= kit.clock()), entries[0]).id


def _known(kit: Toolkit, backup_id: str) -> Manifest:
    """The manifest; that it is missing is damage where a run says that it wrote one."""
    try:
        return kit.catalog.get(backup_id)
    except UsageError:
        run = kit.catalog.run(backup_id) if keys.is_id(backup_id) else None
        if run and run.outcome in (COMPLETE, INCOMPLETE) and not run.pruned:
            raise IntegrityError(
                f"{keys.manifest_key(backup_id)} is missing, and so the backup: its run wrote one.",
                fix="Bring it back from another copy of the storage; choose another backup: list_backups.",
            ) from None
        raise


class _Verification:
    def __init__(self, kit: Toolkit, request: VerifyRequest, manifest: Manifest) -> None:
        self.kit = kit
        self.request = request
        self.manifest = manifest
        self.started = kit.clock()
        self.identities: list[Identity] = []
        if request.depth == CONTENT:
            self.identities = kit.identities(request.identity_file, needed=manifest.encrypted)
        self.findings: dict[str, Finding] = {}
        self.read = 0
        self.bytes = 0

    def run(self) -> VerifyResult:
        objects = {item.key: item for item in self.manifest.objects()}
        self.check_manifest()
        present = [item for item in objects.values() if self.is_present(item)]
        chosen = {item.key: item for item in self.sample(present)}
        total = sum(item.stored_bytes for item in chosen.values())
        self.kit.progress.begin(f"backup {self.manifest.id}", total)
        try:
            if self.request.depth == CONTENT:
                read_content(self.kit, self.manifest, set(chosen), self.attempt)
            else:
                for item in chosen.values():
                    self.check_stored(item)
        finally:
            self.kit.progress.end()
        return self.record(len(objects) + 1)

    def check_manifest(self) -> None:
        """Against what its run wrote down, where that is known."""
        key = keys.manifest_key(self.manifest.id)
        data = self.kit.store.read_small(key)
        read_manifest(data, self.manifest.id)
        self.read += 1
        self.bytes += len(data)
        run = self.kit.catalog.run(self.manifest.id)
        if run and run.manifest_sha256 and run.manifest_sha256 != hashlib.sha256(data).hexdigest():
            self.found(key, ALTERED, f"{key} is not what its run wrote.")

    def is_present(self, item: StoredObject) -> bool:
        try:
            size = self.kit.store.size(item.key)
        except MissingObjectError as error:
            self.found(item.key, MISSING, str(error))
            return False
        if size != item.stored_bytes:
            self.found(item.key, ALTERED, f"{item.key} has {size} bytes, not {item.stored_bytes}.")
            return False
        return True

    def sample(self, present: list[StoredObject]) -> list[StoredObject]:
        number = math.ceil(len(present) * self.request.sample / 100)
        picked = set(secrets.SystemRandom().sample(range(len(present)), number))
        return [item for place, item in enumerate(present) if place in picked]

    def check_stored(self, item: StoredObject) -> bool:
        """Reads the stored bytes to the end; whether they are those that were written."""
        key = item.key
        blocks = verified(self.kit.store.open(key), sha256=item.sha256, size=item.stored_bytes, name=key)
        try:
            with closing(count(blocks, self.kit.progress.advance)) as counted:
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
        """Reads the content of an object. Where that fails, its stored bytes tell whether it was altered."""
        if item.key in self.findings:
            return False  # an index that is read for the sake of a pack
        try:
            reader(self.kit.download(item, self.identities))
        except (MissingObjectError, IntegrityError, IdentityError) as error:
            if self.check_stored(item):
                if isinstance(error, IdentityError):
                    raise
                self.found(item.key, UNREADABLE, f"{item.key}: {error}")
            return False
        self.kit.progress.advance(item.stored_bytes)
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
            finished=self.kit.clock(),
            sample=self.request.sample,
            objects=objects,
            read=self.read,
            bytes=self.bytes,
            damage=tuple(finding.damage for finding in findings),
        )
        unrecorded = ""
        try:
            # Read once more: what prune_backups has removed meanwhile was not lost.
            if not self.kit.store.exists(keys.manifest_key(self.manifest.id)):
                raise UsageError(
                    f"Backup {self.manifest.id} was removed while it was read.",
                    untouched="No result was recorded.",
                    fix="See what there is: python manage.py list_backups.",
                )
            key = keys.check_key(self.manifest.id, self.started, self.request.depth)
            self.kit.store.put_small(key, records.to_json(check))
        except StorageError as error:
            unrecorded = str(error)
        return VerifyResult(check=check, findings=findings, unrecorded=unrecorded)
