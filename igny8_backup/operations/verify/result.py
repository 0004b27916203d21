"""The request for a verification, and the result of a verification or drill, with its stored record."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from igny8_backup.catalog.checked import part_keys
from igny8_backup.catalog.stored_checks import StoredCheck, read_checks
from igny8_backup.errors import IdentityError, IntegrityError, StorageError, UsageError
from igny8_backup.formats import keys
from igny8_backup.formats.documents.annotations import (
    ALTERED,
    DEPTHS,
    MISSING,
    SCHEMA,
    STORED,
    Check,
    CheckedPart,
    Damage,
    ObjectDamage,
)
from igny8_backup.formats.manifest import Manifest
from igny8_backup.formats.objects import StoredObject
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.documents import store_signed
from igny8_backup.signing.trust import CHECK
from igny8_backup.standing.damage import concerns
from igny8_backup.store import MissingObjectError
from igny8_backup.streams.observe import count, verified


@dataclass(frozen=True, kw_only=True)
class VerifyRequest:
    """A request to verify the backup ``backup_id``; if empty, the operation chooses the backups.

    ``depth`` is ``stored`` (compare sizes and digests) or ``content`` (also decrypt and parse). ``sample`` is
    the share of the objects to read, in percent; every day other objects are chosen. ``older_packs`` adds a
    seventh of the packs that only older backups need. ``only``, if not empty, limits the verification to
    these keys.
    """

    backup_id: str = ""
    depth: str = STORED
    sample: int = 100
    identity_file: Path | None = None
    older_packs: bool = False
    only: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One damaged object. ``damage`` is recorded in storage; ``text`` is shown, and can name files."""

    damage: Damage
    text: str


@dataclass(frozen=True, kw_only=True)
class VerifyResult:
    """The result of a verification or drill.

    ``unrecorded``: why ``check`` could not be stored, or ``""``. ``unread``: a sentence for each object that
    could not be read, because the storage failed; whether it is damaged is unknown. ``warnings``: a sentence
    for each helper step that failed during a drill, such as restoring privileges.
    """

    check: Check
    findings: tuple[Finding, ...]
    unrecorded: str = ""
    unread: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def failure(self) -> str:
        """The reason, in one word, why the check did not show that the backup is good; ``""`` if it did."""
        if self.findings:
            return "damage"
        if self.unrecorded:
            return "unrecorded"
        if self.unread:
            return "unread"
        return "incomplete" if self.warnings else ""

    def problems(self) -> list[str]:
        """Return a line for each finding, unread object, warning, and a failure to record the result."""
        lines = [f"{finding.damage.kind.upper()}: {finding.text}" for finding in self.findings]
        lines += [f"UNREAD: {text}" for text in self.unread]
        if self.unrecorded:
            lines.append(f"The result could not be recorded: {self.unrecorded}")
        return lines + [f"WARNING: {warning}" for warning in self.warnings]


class CheckRecorder:
    """Collects the findings of one verification or drill, and stores the result in the storage.

    ``findings`` maps the key of each damaged object to its finding. ``unread`` maps the key of each object
    that could not be read to the reason. ``parts`` are the databases and trees that are checked. ``sample``
    is in percent. ``damaged`` are the keys of objects that checks of any backup found damaged. If one of them
    is undamaged now, the stored result lists the undamaged objects: the earlier damage then no longer counts.
    """

    def __init__(
        self,
        context: BackupContext,
        manifest: Manifest,
        *,
        depth: str,
        parts: Iterable[CheckedPart],
        sample: int = 100,
        damaged: Collection[str] = (),
    ) -> None:
        self._known = frozenset(damaged)
        self._context, self._manifest, self._depth, self._sample = context, manifest, depth, sample
        self._parts = tuple(parts)
        self.started = context.clock()
        self.findings: dict[str, Finding] = {}
        self._sound: dict[str, None] = {}
        self.unread: dict[str, str] = {}
        self._read = self._bytes = 0
        self._manifest_sha256 = ""

    def count_manifest(self, document: bytes) -> None:
        """Add the manifest, whose stored bytes are ``document``, to the objects that this check has read."""
        self._read += 1
        self._bytes += len(document)
        self._manifest_sha256 = hashlib.sha256(document).hexdigest()

    def add_sound(self, *objects: StoredObject) -> None:
        """Record that these objects were read and are undamaged. An object counts once."""
        for item in (item for item in objects if item.key not in self._sound):
            self._read += 1
            self._bytes += item.stored_bytes
            self._sound[item.key] = None

    def add_finding(self, key: str, kind: str, text: str) -> None:
        """Record that the object ``key`` is damaged. ``kind`` is that of :class:`Damage`."""
        self.findings[key] = Finding(damage=Damage(key=key, kind=kind), text=text)

    def read_stored(self, item: StoredObject, on_progress: Callable[[int], None] = lambda size: None) -> bool:
        """Read the stored bytes of an object. Record and return whether they are those that were written.

        ``on_progress`` is called with the size of each block that was read.
        """
        key = item.key
        read = self._context.read_intact(item)
        blocks = verified(read(), sha256=item.sha256, size=item.stored_bytes, name=key)
        try:
            with closing(count(blocks, on_progress)) as counted:
                for _ in counted:
                    pass
        except MissingObjectError as error:
            self.add_finding(key, MISSING, error.what)
        except IntegrityError as error:
            self.add_finding(key, ALTERED, error.what)
        if key not in self.findings:
            self.add_sound(item)
        return key not in self.findings

    def record(self) -> VerifyResult:
        """Sign and store the check. An error of the storage or signing key becomes part of the result.

        Raises ``UsageError`` if the backup was removed meanwhile, for example by prune_backups.
        """
        findings, needed = tuple(self.findings.values()), part_keys(self._manifest)
        objects = len(self._manifest.objects()) + 1
        everything = self._read >= objects and not findings and not self._sound.keys() & self._known
        check = Check(
            schema=SCHEMA,
            id=self._manifest.id,
            depth=self._depth,
            started=self.started,
            finished=self._context.clock(),
            sample=self._sample,
            objects=objects,
            read=self._read,
            bytes=self._bytes,
            damage=tuple(finding.damage for finding in findings),
            sound=None if everything else tuple(key for key in self._sound if key not in self.findings),
            host=self._manifest.host,
            parts=tuple(item for item in self._parts if self._is_judged(item, needed.get(item, set()))),
            manifest_sha256=self._manifest_sha256,
        )
        unrecorded = ""
        try:
            if not self._context.store.exists(keys.manifest_key(check.id)):
                what = f"Backup {check.id} was removed while it was verified."
                hint = "List the backups that exist: python manage.py list_backups."
                raise UsageError(what, unchanged="No result was recorded.", hint=hint)
            earlier = self._earlier_checks()
            check = replace(check, known=tuple(dict.fromkeys(self._known_damage(check, earlier))))
            key = keys.check_key(check.id, check.started, check.depth)
            store_signed(self._context, key, CHECK, check)
            self._remove_future(earlier)
        except (StorageError, IdentityError) as error:
            unrecorded = str(error)
        unread = tuple(self.unread.values())
        return VerifyResult(check=check, findings=findings, unrecorded=unrecorded, unread=unread)

    def _is_judged(self, part: CheckedPart, needed: set[str]) -> bool:
        """Return whether this check says anything about ``part``, which needs the objects ``needed``.

        A part with an object that could not be read is not verified. But damage in it must be recorded, and
        whoever reads a check ignores damage of parts that the check does not name.
        """
        return not self.unread.keys() & needed or any(concerns(key, [part]) for key in self.findings)

    def _earlier_checks(self) -> list[StoredCheck]:
        """Return the newest accepted check of this backup and depth, and newer checks that are not accepted.

        A check is not accepted if no trusted key signed it, or if it is dated in the future. Raises
        ``StorageError``.
        """
        context, backup_id, unread = self._context, self._manifest.id, dict[str, str]()
        found = read_checks(
            context.store,
            backup_id,
            trust=context.config.trust,
            entries={entry.id: entry for entry in context.catalog.entries([backup_id])},
            listed=[item.key for item in context.store.list(keys.backup_folder(backup_id))],
            unread=unread,
            now=self.started,
        )
        if unread:  # it may have found damage, which this check has to repeat
            raise StorageError(next(iter(unread.values())))
        return [item for item in found.get(backup_id, []) if item.check.depth == self._depth]

    def _known_damage(self, check: Check, earlier: Iterable[StoredCheck]) -> Iterator[ObjectDamage]:
        """Yield damage that ``earlier`` checks recorded, if this check has not read the damaged object.

        Of each depth, the newest check of a part counts. It must repeat the damage that earlier checks found
        in objects which it has not read itself, or it would hide that damage.
        """
        settled = check.sound_among(item.key for item in self._manifest.objects()) | self.findings.keys()
        if self._depth in DEPTHS[:2]:  # a verification always reads the manifest; a drill trusts it
            settled |= {keys.manifest_key(check.id)}
        counting = (other.check for other in earlier if not other.problem)
        for item in (item for other in counting for item in other.all_damage()):
            if item.key not in settled:
                yield replace(item, found=min(item.found, self.started))

    def _remove_future(self, earlier: Iterable[StoredCheck]) -> None:
        """Delete checks dated in the future: they would hide this check once their time has come."""
        for item in earlier:
            if item.check.started > self.started:
                with suppress(StorageError):  # such as a bucket that forbids deletion
                    self._context.store.delete(item.key)
