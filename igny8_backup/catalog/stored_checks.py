"""Read the results of verifications and drills: which checks count, and which only report damage.

Checks are stored outside the folders of the backups. A damaged object can be part of several backups, so its
damage must still be known when the backup whose check found it is gone. Checks that earlier releases of this
package stored in the folders of backups are read as well.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from igny8_backup.catalog.backups import Entry
from igny8_backup.catalog.failures import of_one_object
from igny8_backup.catalog.known_manifests import KnownManifests
from igny8_backup.catalog.signatures import judge_document
from igny8_backup.common.clock_skew import TOLERANCE
from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.annotations import SCHEMA, Check, CheckedPart, ObjectDamage
from igny8_backup.formats.manifest import COMPLETE, Manifest
from igny8_backup.signing.trust import CHECK, Trust, part_token
from igny8_backup.standing.damage import concerns, is_of_removed_backup
from igny8_backup.store import MissingObjectError, Store


@dataclass(frozen=True, kw_only=True)
class StoredCheck:
    """A check and its ``key`` in the store.

    ``problem`` says why the check does not count, for example because no trusted key signed it. It is empty
    if the check counts. If the settings name no trusted key, every check counts.
    """

    key: str
    check: Check
    problem: str = ""


def read_checks(
    store: Store,
    backup_id: str = "",
    *,
    trust: Trust,
    entries: Mapping[str, Entry],
    listed: Iterable[str] = (),
    unread: dict[str, str] | None = None,
    now: datetime | None = None,
    known: KnownManifests | None = None,
) -> dict[str, list[StoredCheck]]:
    """Return the checks of all backups, or of ``backup_id``, by the id of the backup, newest first.

    A check counts if a trusted key signed it, or if the settings name no such key. For each depth and each
    database and tree, the result has the newest check that counts, and newer ones that do not. Older checks
    are left out, because each check repeats the damage that earlier ones found in objects that it did not
    read itself.

    ``entries`` are the existing backups by id. ``listed`` are the keys in the folders of the backups. A
    damaged check is ignored. If the storage fails to return a check, its key is added to ``unread``, with the
    reason. With ``now``, a check dated after ``now`` does not replace the newest check that is dated earlier.
    ``known`` remembers on this host the checks with a trusted signature: they still count if their signing
    key is revoked later.
    """
    series: defaultdict[tuple[str, str, bool], list[str]] = defaultdict(list)
    folder = keys.checks_folder(backup_id) if backup_id else keys.CHECKS
    for key in (*listed, *(item.key for item in store.list(folder))):
        parsed = keys.parse(key)
        if parsed and parsed.kind in ("check", "old_check"):
            future = now is not None and _stamp(key) > keys.stamp(now + TOLERANCE)
            series[parsed.backup_id, parsed.name, future].append(key)
    newest = (max(names, key=_stamp) for names in series.values())
    store.prefetch(newest, signatures=trust.required)
    found: defaultdict[str, list[StoredCheck]] = defaultdict(list)
    judge = _Judge(store, trust, known)
    for (checked, _, _), names in series.items():
        coverage = _Coverage(entries.get(checked))
        for key in sorted(names, key=_stamp, reverse=True):
            stored = _read(judge, checked, key, entries.get(checked), {} if unread is None else unread)
            if stored and not stored.problem:
                stored = coverage.add(stored)
            if stored:
                found[checked].append(stored)
            if coverage.complete:
                break
    if known:
        known.add_checks(judge.trusted)
    return {
        checked: sorted(items, key=lambda item: item.check.started, reverse=True)
        for checked, items in found.items()
    }


class _Coverage:
    """Collects the databases and trees of one backup that checks of one depth cover, newest checks first.

    A newer check of some parts must not hide an older check of other parts. Otherwise a key that is trusted
    for some parts only could hide what is known about the others.
    """

    def __init__(self, entry: Entry | None) -> None:
        manifest = entry.manifest if entry else None
        self._wanted: set[CheckedPart] | None = None
        if manifest:
            parts = (part for part in manifest.parts if part.state == COMPLETE)
            self._wanted = {CheckedPart(kind=part.kind, name=part.name) for part in parts}
        self._covered: set[CheckedPart] = set()
        self.complete = False

    def add(self, stored: StoredCheck) -> StoredCheck | None:
        """Add a check that is older than all those added before.

        Returns the check, limited to the parts that no newer check covers; ``None`` if there are no such
        parts.
        """
        parts = stored.check.parts
        if parts is None:  # an earlier release checked every part of the backup
            self.complete = self._wanted is not None
            return stored
        left = tuple(item for item in parts if item not in self._covered)
        if self._covered and not left:
            return None
        self._covered |= set(left)
        self.complete = self._wanted is not None and self._wanted <= self._covered
        return replace(stored, check=replace(stored.check, parts=left))


def _stamp(key: str) -> str:
    return key.rpartition("/")[2].partition("-")[0]


@dataclass(frozen=True)
class _Judge:
    """Judges the signatures of checks, and collects in ``trusted`` the checks that this host shall remember.

    ``trusted`` maps the id of the backup and the depth to the SHA-256 of the check. Checks that a revoked key
    signed are not added.
    """

    store: Store
    trust: Trust
    known: KnownManifests | None
    trusted: dict[tuple[str, str], str] = field(default_factory=dict)

    def problem(self, key: str, data: bytes, check: Check, host: str, parts: Iterable[str]) -> str:
        """Return why the signature of a check does not count; ``""`` if it does."""
        digest = hashlib.sha256(data).hexdigest()
        before = self.known is not None and self.known.is_trusted_check(check.id, check.depth, digest)
        verdict = judge_document(
            self.store, self.trust, key, CHECK, data, host=host, parts=parts, known=before
        )
        if verdict.trusted and not verdict.revoked:
            self.trusted.setdefault((check.id, check.depth), digest)
        return verdict.problem


def _read(
    judge: _Judge, backup_id: str, key: str, entry: Entry | None, unread: dict[str, str]
) -> StoredCheck | None:
    """Read one check; return ``None`` if it cannot be read or contradicts its key."""
    store, trust = judge.store, judge.trust
    try:
        data = store.read_small(key)
        check = records.from_json(Check, data, name=key, schema=SCHEMA)
        # Otherwise an old signed check, stored again under another time or depth, would hide a newer one.
        named = (check.id, keys.stamp(check.started), check.depth)
        if named != (backup_id, _stamp(key), key.rpartition("-")[2].removesuffix(".json")):
            return None
        problem = _problem(judge, key, data, check, entry) if trust.required else ""
    except (MissingObjectError, IntegrityError):
        return None
    except StorageError as error:
        unread[key] = of_one_object(store, error)
        return None
    if trust.required:
        check = _about_its_backup(check, entry.manifest if entry else None)
        if problem:
            check = replace(check, sound=())  # it proves nothing, and may be as long as its author wants
    if (
        entry
        and entry.manifest
        and entry.manifest.replaces
        and check.manifest_sha256 != entry.manifest_sha256
    ):
        check = replace(check, sound=())  # it has read none of the objects that the backup has now
    return StoredCheck(key=key, check=check, problem=problem)


def _problem(judge: _Judge, key: str, data: bytes, check: Check, entry: Entry | None) -> str:
    """Return why a check does not count; ``""`` if it does.

    It counts if a trusted key signed it, and if it is about the manifest that is in the store now.
    """
    manifest = entry.manifest if entry else None
    host, named = check.host, [part_token(item.kind, item.name) for item in check.parts or ()]
    if entry and manifest:
        host = manifest.host
        named = named if check.parts is not None else _tokens(manifest)
    problem = judge.problem(key, data, check, host, named)
    if not problem and entry and not entry.is_described_by(check.manifest_sha256, CHECK, judge.trust):
        return "it is about another version of the manifest"
    return problem


def _tokens(manifest: Manifest) -> list[str]:
    return [part_token(part.kind, part.name) for part in manifest.parts]


def _about_its_backup(check: Check, manifest: Manifest | None) -> Check:
    """Return the check without the damage that it reports of objects outside its backup and its parts.

    A signing key of one host, or of some parts, must not be able to report damage of others.
    """
    named = None if manifest is None else manifest.named_keys()

    def belongs(key: str) -> bool:
        if check.parts is not None and not concerns(key, check.parts):
            return False
        if key.startswith(keys.backup_folder(check.id)):
            return True
        return is_of_removed_backup(key, check) if named is None else key in named

    return replace(
        check,
        damage=tuple(dict.fromkeys(item for item in check.damage if belongs(item.key))),
        known=tuple(dict.fromkeys(item for item in check.known if belongs(item.key))),
    )


def checks_that_count(stored: Mapping[str, Iterable[StoredCheck]]) -> tuple[Check, ...]:
    """Return the checks that count, oldest first."""
    found = (item.check for items in stored.values() for item in items if not item.problem)
    return tuple(sorted(found, key=lambda check: check.started))


def reported_damage(stored: Iterable[StoredCheck]) -> Iterator[ObjectDamage]:
    """Yield the damage that is reported by those checks in ``stored`` that do not count."""
    for item in stored:
        if item.problem:
            yield from item.check.all_damage()
