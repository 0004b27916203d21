"""Revoked, rotated and several signing keys: what a signature proves after its key was stolen."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.catalog.known_manifests import KnownManifests
from igny8_backup.catalog.signatures import store_signature
from igny8_backup.formats import keys as object_keys
from igny8_backup.formats import records
from igny8_backup.formats.manifest import Manifest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.read import read_history
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.read.details import read_details
from igny8_backup.operations.sign import sign_backups
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify
from igny8_backup.signing import signing_key
from igny8_backup.signing.trust import MANIFEST, Trust
from tests.operations.clocks import Clock
from tests.operations.signed import Keys, assert_refused, backed_up, folder

pytestmark = pytest.mark.slow


def revoked(keys: Keys, name: str) -> dict[str, Any]:
    return {"KEY": keys.line(name), "REVOKED": True}


def forge(context: BackupContext, keys: Keys, name: str, source: Manifest, backup_id: str) -> Manifest:
    """Store a copy of a backup under another, older id, signed with a key that the attacker has."""
    started = object_keys.id_time(backup_id)
    copied = json.loads(records.to_json(source).decode().replace(source.id, backup_id))
    dated = {"started": f"{started:%Y-%m-%dT%H:%M:%SZ}", "finished": f"{started:%Y-%m-%dT%H:%M:%SZ}"}
    document = json.dumps({**copied, **dated}).encode()
    shutil.copytree(folder(context, source), folder(context, replace(source, id=backup_id)))
    context.store.put_small(object_keys.manifest_key(backup_id), document)
    key = object_keys.manifest_key(backup_id)
    store_signature(context.store, signing_key.load(keys.file(name)), key, MANIFEST, document)
    return context.catalog.get(backup_id)


def test_revoked_key_counts_for_backups_that_this_host_knew_and_for_no_others(
    host: Any, keys: Keys, tmp_path: Path
) -> None:
    with host(signs="web", trusts=["web"]) as context:
        known = backed_up(context)
    with host(trusts=[revoked(keys, "web"), "web-2"]) as context:
        assert read_details(context, known, []).id == known.id
        # Dated a year before the revocation, and before all backups that this host knows.
        forged = forge(context, keys, "web", known, "20251122T021500Z-7f3a9c")
        assert_refused(context, forged, "'web' is revoked", tmp_path)
        assert [entry.id for entry in context.catalog.entries() if entry.untrusted] == [forged.id]


def test_revoked_key_does_not_count_for_a_changed_manifest_of_a_known_backup(
    host: Any, keys: Keys, tmp_path: Path
) -> None:
    with host(signs="web", trusts=["web"]) as context:
        known = backed_up(context)
    with host(trusts=[revoked(keys, "web")]) as context:
        document = records.to_json(replace(known, label="forged"))
        context.store.put_small(object_keys.manifest_key(known.id), document)
        key = object_keys.manifest_key(known.id)
        store_signature(context.store, signing_key.load(keys.file("web")), key, MANIFEST, document)
        assert_refused(context, context.catalog.get(known.id), "'web' is revoked", tmp_path)


def test_host_that_only_reads_remembers_what_it_saw(host: Any, keys: Keys, tmp_path: Path) -> None:
    with host(signs="web", trusts=["web"]) as context:
        seen = backed_up(context)
        shutil.rmtree(tmp_path / "state")
    with host(trusts=["web"]) as context:
        context.catalog.entries()
    with host(trusts=[revoked(keys, "web")]) as context:
        assert read_details(context, seen, []).id == seen.id
        shutil.rmtree(tmp_path / "state")
        assert_refused(context, seen, "'web' is revoked", tmp_path)


def test_checks_of_a_revoked_key_count_if_this_host_saw_them_before(
    host: Any, keys: Keys, tmp_path: Path
) -> None:
    clock = Clock()
    with host(signs="web", trusts=["web"], clock=clock) as context:
        backup_id = backed_up(context).id
        clock.forward(hours=1)
        verify(context, VerifyRequest(backup_id=backup_id))
        (seen,) = read_history(context).annotations[backup_id].checks
        clock.forward(hours=1)
        # Somebody who has the key claims later that another check was made. This host has not seen it before.
        verify(context, VerifyRequest(backup_id=backup_id))
    with host(trusts=[revoked(keys, "web"), "web-2"], clock=clock) as context:
        found = read_history(context).annotations[backup_id]
        assert found.checks == (seen,) and len(found.reported) == 1
        assert any("'web' is revoked" in doubt for doubt in found.doubts)
        shutil.rmtree(tmp_path / "state")
        assert not read_history(context).annotations[backup_id].checks


def test_first_look_with_a_key_that_is_already_revoked_trusts_nothing(
    host: Any, keys: Keys, tmp_path: Path
) -> None:
    with host(signs="web", trusts=["web"]) as context:
        signed = backed_up(context)
        shutil.rmtree(tmp_path / "state")
    with host(signs="web-2", trusts=[revoked(keys, "web"), "web-2"]) as context:
        assert [entry.untrusted != "" for entry in context.catalog.entries()] == [True]
        assert list(sign_backups(context).refused) == [signed.id]
        assert_refused(context, signed, "'web' is revoked", tmp_path)


def test_sign_backups_signs_known_backups_again_after_a_revocation(
    host: Any, keys: Keys, tmp_path: Path
) -> None:
    with host(signs="web", trusts=["web"]) as context:
        known = backed_up(context)
    with host(signs="web-2", trusts=[revoked(keys, "web"), "web-2"]) as context:
        forged = forge(context, keys, "web", known, "20251122T021500Z-7f3a9c")
        result = sign_backups(context)
        assert result.signed == (known.id,) and list(result.refused) == [forged.id]
        assert f"sign it by its id: sign_backups {forged.id}" in result.refused[forged.id]
        shutil.rmtree(tmp_path / "state")
        # Another machine, which knows nothing: the new signature is enough.
        assert read_details(context, known, []).id == known.id
    with host(trusts=["web-2"]) as context:
        assert read_details(context, known, []).id == known.id


def test_sign_backups_signs_an_unknown_backup_only_by_its_id(host: Any, keys: Keys, tmp_path: Path) -> None:
    with host(signs="web", trusts=["web"]) as context:
        signed = backed_up(context)
        shutil.rmtree(tmp_path / "state")
    with host(signs="web-2", trusts=[revoked(keys, "web"), "web-2"]) as context:
        assert sign_backups(context).signed == ()
        assert sign_backups(context, (signed.id,)).signed == (signed.id,)
        assert read_details(context, signed, []).id == signed.id


def test_sign_backups_adopts_unsigned_backups_of_the_first_look_and_no_later_ones(
    host: Any, settings: Any, tmp_path: Path
) -> None:
    with host() as context:
        old = backed_up(context)
        shutil.rmtree(tmp_path / "state")
    with host(signs="web", trusts=["web"]) as context:
        assert sign_backups(context).signed == (old.id,)
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "STATE_DIR": tmp_path / "attacker"}
    with host() as context:
        planted = backed_up(context)
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "STATE_DIR": tmp_path / "state"}
    with host(signs="web", trusts=["web"]) as context:
        result = sign_backups(context)
        assert result.already == (old.id,) and list(result.refused) == [planted.id]


def test_rotation_old_key_can_be_removed_after_its_backups_were_signed_again(host: Any, keys: Keys) -> None:
    with host(signs="web", trusts=["web"]) as context:
        first = backed_up(context)
    with host(signs="web-2", trusts=["web", "web-2"]) as context:
        second = backed_up(context)
        assert read_details(context, first, []).id == first.id
    with host(signs="web-2", trusts=[revoked(keys, "web"), "web-2"]) as context:
        assert sign_backups(context).signed == (first.id,)
    with host(signs="web-2", trusts=["web-2"]) as context:
        for manifest in (first, second):
            assert read_details(context, manifest, []).id == manifest.id


def test_several_signers_each_sign_for_their_own_host_only(
    host: Any, keys: Keys, settings: Any, tmp_path: Path
) -> None:
    def limited(name: str) -> dict[str, Any]:
        return {"KEY": keys.line(name), "HOSTS": [name]}

    trusts = [limited("web-1"), limited("web-2")]
    made = {}
    for name in ("web-1", "web-2"):
        settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "HOST": name, "STATE_DIR": tmp_path / name}
        with host(signs=name, trusts=trusts) as context:
            made[name] = backed_up(context)
    # web-2 was broken into: its key must not sign a backup of web-1.
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "HOST": "web-1"}
    with host(signs="web-2", trusts=trusts) as context:
        forged = backed_up(context)
        for manifest in made.values():
            assert read_details(context, manifest, []).id == manifest.id
        assert_refused(context, forged, "'web-2' may not sign for the host web-1", tmp_path)


def test_prune_keeps_backups_of_a_revoked_key(host: Any, keys: Keys, settings: Any, tmp_path: Path) -> None:
    clock = Clock()
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "RETENTION": {"last": 1}}
    with host(signs="web", trusts=["web"], clock=clock) as context:
        for _ in range(3):
            clock.forward(hours=1)
            backed_up(context)
    shutil.rmtree(tmp_path / "state")
    with host(trusts=[revoked(keys, "web"), "web-2"], clock=clock) as context:
        assert prune(context).removed == ()


@pytest.mark.parametrize("content", [b"", b"{}", b'{"schema": 2}', b'{"schema": 1, "trusted": {"a": 1}}'])
def test_known_manifests_damaged_file_trusts_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "known-manifests.json").write_bytes(content)
    known = KnownManifests(tmp_path, "storage")
    assert not known.is_trusted("a", "1")
    known.add_listing(trusted={"b": "2"}, unsigned={"c": "3"})
    again = KnownManifests(tmp_path, "storage")
    assert again.is_trusted("b", "2") and not again.is_unsigned("c", "3")


def test_known_manifests_of_two_processes_are_kept(tmp_path: Path) -> None:
    one, other = KnownManifests(tmp_path, "storage"), KnownManifests(tmp_path, "storage")
    assert not one.is_trusted("a", "1") and not other.is_trusted("a", "1")
    one.add(trusted={"a": "1"})
    other.add(trusted={"b": "2"})
    again = KnownManifests(tmp_path, "storage")
    assert again.is_trusted("a", "1") and again.is_trusted("b", "2")
    assert (tmp_path / "known-manifests.json").stat().st_mode & 0o777 == 0o600


def test_known_manifests_that_cannot_be_written_stop_nothing(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no folder")
    known = KnownManifests(tmp_path / "state", "storage")
    key, _ = signing_key.generate()
    known.add_own("a", b"document", key, Trust())
    assert known.is_trusted("a", hashlib.sha256(b"document").hexdigest())
