"""Verification finds, names and records damage, and reports no damage for an undamaged backup."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.catalog.annotations import read_annotations
from igny8_backup.errors import IdentityError, IntegrityError, UsageError
from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.annotations import ALTERED, CONTENT, MISSING, STORED, UNREADABLE
from igny8_backup.formats.manifest import Manifest
from igny8_backup.formats.objects import StoredObject
from igny8_backup.operations.context import BackupContext, open_context
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.verify.result import VerifyRequest, VerifyResult
from igny8_backup.operations.verify.run import verify
from igny8_backup.streams.age import generate_identity, load_identities
from igny8_backup.streams.pipeline import from_bytes
from tests.management.commands import Command, run_many
from tests.management.conftest import BackedUp


@pytest.fixture
def storage(backed_up: BackedUp, tmp_path: Path) -> Path:
    """A copy of the storage that a test may damage."""
    copy = tmp_path / "storage"
    shutil.copytree(backed_up.project.storage, copy)
    return copy


@pytest.fixture
def context(settings: Any, backed_up: BackedUp, storage: Path, tmp_path: Path) -> Iterator[BackupContext]:
    """The context of a machine without databases and trees, but with PostgreSQL's client programs."""
    alias = {**settings.STORAGES["dbbackup"], "OPTIONS": {"location": str(storage)}}
    settings.STORAGES = {**settings.STORAGES, "dbbackup": alias}
    settings.MEDIA_ROOT = ""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    settings.IGNY8_BACKUP = {
        "DATABASES": [],
        "STATE_DIR": tmp_path / "state",
        "SCRATCH_DIR": scratch,
        "ENCRYPTION": {"RECIPIENTS": [backed_up.project.recipient]},
        "CLIENT_BIN_DIR": backed_up.project.server.bin_dir,
    }
    with open_context() as found:
        yield found
    assert list(scratch.iterdir()) == []


def stored(context: BackupContext) -> VerifyResult:
    return verify(context, VerifyRequest())


def content(context: BackupContext, backed_up: BackedUp) -> VerifyResult:
    return verify(context, VerifyRequest(depth=CONTENT, identity_file=backed_up.project.identity))


def damage(result: VerifyResult) -> dict[str, str]:
    return {item.key: item.kind for item in result.check.damage}


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_verify_undamaged_backup_finds_nothing(context: BackupContext, backed_up: BackedUp) -> None:
    manifest = context.catalog.get(backed_up.id)
    for result in (stored(context), content(context, backed_up)):
        assert not result.findings and not result.unrecorded
        assert result.check.objects == result.check.read == len(manifest.objects()) + 1 == 10
        size = len(context.store.read_small(keys.manifest_key(manifest.id)))
        assert result.check.bytes == manifest.stored_bytes + size
    assert [check.depth for check in read_annotations(context.store)[backed_up.id].checks] == [
        CONTENT,
        STORED,
    ]
    assert read_annotations(context.store, backed_up.id) == read_annotations(context.store)


def test_verify_finds_each_damage_to_each_object(
    context: BackupContext, backed_up: BackedUp, storage: Path
) -> None:
    manifest = context.catalog.get(backed_up.id)
    every = [keys.manifest_key(manifest.id), *(item.key for item in manifest.objects())]
    paths = {key: storage / "igny8" / key for key in every}
    original = {key: path.read_bytes() for key, path in paths.items()}
    for number, (key, path) in enumerate(paths.items()):
        content = original[key]
        harms: dict[str, Callable[[Path], object]] = {
            "first bit": partial(flip, place=0),
            "a bit within": partial(flip, place=len(content) // 2),
            "last bit": partial(flip, place=-1),
            "truncated": partial(Path.write_bytes, data=content[:-1]),
            "emptied": partial(Path.write_bytes, data=b""),
            "longer": partial(Path.write_bytes, data=content + b"x"),
            "swapped": partial(Path.write_bytes, data=original[every[number - 1]]),
            "other bytes": partial(Path.write_bytes, data=bytes(len(content))),
            "removed": Path.unlink,
        }
        for name, harm in harms.items():
            harm(path)
            try:
                found = damage(verify(context, VerifyRequest(backup_id=backed_up.id)))
                text = ""
            except IntegrityError as error:
                found, text = {}, str(error)
            assert key in found or (number == 0 and ("manifest" in text)), (key, name, found)
            # An altered manifest may name another digest of an object.
            assert set(found) <= {key} or number == 0, (key, name, found)
            if number:
                assert found[key] == (MISSING if name == "removed" else ALTERED)
            path.write_bytes(original[key])
    assert not stored(context).findings


@pytest.mark.parametrize("place", [0, 30, 150, -1])
def test_verify_altered_age_header_is_damage(
    context: BackupContext, backed_up: BackedUp, storage: Path, place: int
) -> None:
    """The header of an age file names its recipients; if it is altered, the error looks like a wrong key."""
    dump = next(item for item in context.catalog.get(backed_up.id).objects() if "/db/" in item.key)
    flip(storage / "igny8" / dump.key, place)
    assert damage(content(context, backed_up)) == {dump.key: ALTERED}


def test_verify_with_wrong_key_reports_no_damage(
    context: BackupContext, backed_up: BackedUp, tmp_path: Path
) -> None:
    with pytest.raises(IdentityError, match="no identity is given"):
        verify(context, VerifyRequest(depth=CONTENT))
    other = tmp_path / "other.key"
    other.touch(0o600)
    other.write_text(generate_identity()[0])
    with pytest.raises(IdentityError, match="not encrypted to this identity"):
        verify(context, VerifyRequest(depth=CONTENT, identity_file=other))
    assert not any(notes.checks for notes in read_annotations(context.store).values())


def forge(
    context: BackupContext, backed_up: BackedUp, item: StoredObject, change: Callable[[bytes], bytes]
) -> Manifest:
    """Store other contents under the key of ``item``, with a list and a manifest that match the new bytes."""
    identities = load_identities(backed_up.project.identity)
    data = change(b"".join(context.download(item, identities)))
    context.store.delete(item.key)
    made = records.to_plain(context.upload(item.key).send(from_bytes(data)))
    manifest = records.to_plain(context.catalog.get(backed_up.id).as_stored())
    if item.named_in:  # a pack, which only a list describes
        key = item.named_in.key
        described = replaced(json.loads(context.store.read_small(key)), item.key, made)
        content = json.dumps(described).encode()
        context.store.put_small(key, content)
        named = {"stored_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        manifest = replaced(manifest, key, named)
    else:
        manifest = replaced(manifest, item.key, made)
    context.store.put_small(keys.manifest_key(backed_up.id), json.dumps(manifest).encode())
    context.store.delete(keys.run_key(backed_up.id))
    return context.catalog.get(backed_up.id)


def replaced(value: Any, key: str, fields: dict[str, Any]) -> Any:
    """Return plain JSON with other ``fields`` of what it says about the object ``key``."""
    if isinstance(value, dict):
        new = fields if value.get("key") == key else {}
        return {name: replaced(one, key, fields) for name, one in value.items()} | new
    return [replaced(one, key, fields) for one in value] if isinstance(value, list) else value


def altered(data: bytes) -> bytes:
    place = data.index(b"SENTINEL-7c1f content")
    return data[:place] + b"X" + data[place + 1 :]


FORGERIES: dict[str, list[tuple[Callable[[bytes], bytes], str]]] = {
    "details": [(lambda data: data.replace(b'"id": "2', b'"id": "1', 1), "belong to another backup")],
    "database": [
        (lambda data: data[: len(data) // 2], "pg_restore cannot read the dump"),
        (lambda data: b"", "pg_restore cannot read the dump"),
    ],
    "index": [
        (lambda data: data[: data.rindex(b"\n", 0, -1) + 1], "before its last line"),
        (lambda data: data.replace(b'-0001"', b'-0002"'), "which the manifest does not name"),
    ],
    "folders": [
        (
            lambda data: data[: len(data) // 2 // 512 * 512] + bytes(1024),
            "The tar of folders does not hold",
        ),
        (lambda data: b"no tar at all" * 100, "cannot be read"),
        (lambda data: data[512:], "where the index has another entry"),
    ],
    "pack": [
        (altered, "is not the file that the index describes"),
        (lambda data: bytes(1024), "does not hold the file"),
        (lambda data: data[:-1024], "is truncated"),
        (lambda data: data + b"x" * 512, "holds data after its end-of-archive block"),
    ],
}


@pytest.mark.parametrize("kind", FORGERIES)
def test_verify_content_finds_contradictory_contents(
    context: BackupContext, backed_up: BackedUp, storage: Path, kind: str
) -> None:
    (item,) = [
        item
        for item in context.catalog.get(backed_up.id).objects()
        if (parsed := keys.parse(item.key))
        and parsed.kind == kind
        and parsed.name in ("", "default", "uploads")
    ]
    for change, text in FORGERIES[kind]:
        forge(context, backed_up, item, change)
        assert not stored(context).findings, "the bytes are those that the manifest names"
        result = content(context, backed_up)
        assert damage(result) == {item.key: UNREADABLE}
        assert text in result.findings[0].text, result.findings[0].text
        assert item.key in result.findings[0].text
        shutil.rmtree(storage)
        shutil.copytree(backed_up.project.storage, storage)


def test_verify_sample_still_finds_missing_objects(
    context: BackupContext, backed_up: BackedUp, storage: Path
) -> None:
    reads = []
    for percent in (1, 50, 100):
        check = verify(context, VerifyRequest(sample=percent)).check
        assert (check.sample, check.objects) == (percent, 10)
        reads.append(check.read)
    assert 2 <= reads[0] <= reads[1] <= reads[2] == 10
    dump = next(item for item in context.catalog.get(backed_up.id).objects() if "/db/" in item.key)
    (storage / "igny8" / dump.key).unlink()
    assert damage(verify(context, VerifyRequest(sample=1))) == {dump.key: MISSING}


def test_verify_reports_a_lost_manifest_but_not_a_removed_backup(
    context: BackupContext, backed_up: BackedUp
) -> None:
    with pytest.raises(UsageError, match="There is no backup"):
        verify(context, VerifyRequest(backup_id="20200101T000000Z-0000aa"))
    context.store.delete(keys.manifest_key(backed_up.id))
    with pytest.raises(IntegrityError, match="manifest.json is missing"):
        verify(context, VerifyRequest(backup_id=backed_up.id))
    with pytest.raises(UsageError, match="backup_all"):
        verify(context, VerifyRequest())
    run = context.catalog.run(backed_up.id)
    assert run
    pruned = replace(run, pruned=context.clock())
    context.store.put_small(keys.run_key(backed_up.id), records.to_json(pruned))
    with pytest.raises(UsageError, match="There is no backup"):
        verify(context, VerifyRequest(backup_id=backed_up.id))


def test_verify_does_not_take_a_future_backup_for_the_newest(
    context: BackupContext, backed_up: BackedUp, storage: Path
) -> None:
    ahead = backed_up.id.replace("20", "21", 1)
    home = storage / "igny8/backups"
    shutil.copytree(home / backed_up.id, home / ahead)
    assert stored(context).check.id == backed_up.id
    shutil.rmtree(home / backed_up.id)
    with pytest.raises(IntegrityError, match=ahead):
        stored(context)


def test_checks_are_removed_with_their_backup(context: BackupContext, backed_up: BackedUp) -> None:
    stored(context)
    result = prune(context)
    assert not result.waiting and read_annotations(context.store)[backed_up.id].checks


def test_verify_command_shows_result_and_ends_with_status(backed_up: BackedUp, storage: Path) -> None:
    identity = ["--identity", str(backed_up.project.identity)]

    def runs(*commands: list[str]) -> list[Any]:
        return run_many(backed_up.project, *(Command(argv, storage=storage) for argv in commands))

    quick, deep, listed, shown, wrong, every, both = runs(
        ["verify_backup"],
        ["verify_backup", backed_up.id, "--depth", "content", "--json", *identity],
        ["list_backups"],
        ["show_backup", backed_up.id],
        ["verify_backup", "--sample", "0%"],
        ["verify_backup", "--all", "--json"],
        ["verify_backup", backed_up.id, "--all"],
    )
    assert [result["check"]["id"] for result in every.ended(0).json["results"]] == [backed_up.id]
    assert "--all cannot be combined with ID" in both.ended(2).stderr
    assert f"Backup {backed_up.id} (depth stored): no damage, 10 of 10 objects read" in quick.ended(0).stdout
    assert deep.ended(0).json["check"]["damage"] == []
    assert "content checked" in " ".join(listed.ended(0).stdout.split())
    assert "no damage, 10 of 10 objects read" in shown.ended(0).stdout
    assert "is not a whole number from 1 to 100" in wrong.ended(2).stderr
    (pack,) = storage.glob("igny8/packs/web-1/uploads/*.age")
    flip(pack, 1000)
    harmed, as_json, listed, shown = runs(
        ["verify_backup"],
        ["verify_backup", "--json", "--depth", "content", *identity],
        ["list_backups"],
        ["show_backup", backed_up.id],
    )
    assert f"ALTERED: packs/web-1/uploads/{pack.name} was altered" in harmed.ended(6).stderr
    assert f"Backup {backed_up.id} is damaged: 1 object, 9 of 10 objects read" in harmed.stderr
    (finding,) = as_json.ended(6).json["findings"]
    assert finding["damage"] == {"key": f"packs/web-1/uploads/{pack.name}", "kind": "altered"}
    assert "stored DAMAGED" in " ".join(listed.ended(0).stdout.split())
    assert f"altered: packs/web-1/uploads/{pack.name}" in shown.ended(0).stdout
