"""Signed backups: what is unsigned, forged or signed by somebody else is refused before it is read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.errors import IdentityError, UsageError
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.extract.plan import ExtractRequest, plan_extract
from igny8_backup.operations.guards.genuine import Accept
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.read.details import read_details
from igny8_backup.operations.sign import sign_backups
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify
from igny8_backup.store import open_store
from tests.operations.clocks import Clock
from tests.operations.signed import REQUEST, Keys, assert_refused, backed_up, folder
from tests.operations.test_withheld import Withholding

pytestmark = pytest.mark.slow


def test_signed_backup_is_read_where_its_key_is_trusted(host: Any, tmp_path: Path) -> None:
    with host(signs="web", trusts=["laptop", "web"]) as context:
        manifest = backed_up(context)
        assert read_details(context, manifest, []).id == manifest.id
        assert verify(context, VerifyRequest(depth="content")).findings == ()


def test_unsigned_backup_is_refused_until_it_is_accepted(host: Any, tmp_path: Path) -> None:
    with host(trusts=["web"]) as context:
        manifest = backed_up(context)
        assert_refused(context, manifest, "it is not signed", tmp_path)
    with host(trusts=["web"], accept=Accept(unsigned=True)) as context:
        assert read_details(context, manifest, []).id == manifest.id


def test_backup_signed_with_another_key_is_refused(host: Any, tmp_path: Path) -> None:
    with host(signs="attacker", trusts=["web"]) as context:
        assert_refused(context, backed_up(context), "a key that the settings do not trust", tmp_path)


@pytest.mark.parametrize(
    ("limit", "problem"),
    [
        ({"SIGNS": ["check"]}, "may not sign a manifest"),
        ({"HOSTS": ["web-2"]}, "may not sign for the host web-1"),
        ({"PARTS": ["uploads"]}, "may not sign for sites"),
        ({"REVOKED": True}, "is revoked"),
    ],
)
def test_backup_signed_without_the_right_is_refused(
    host: Any, keys: Keys, tmp_path: Path, limit: dict[str, Any], problem: str
) -> None:
    with host(signs="web", trusts=[{"KEY": keys.line("web"), **limit}]) as context:
        assert_refused(context, backed_up(context), problem, tmp_path)


def test_changed_manifest_is_refused(host: Any, tmp_path: Path) -> None:
    with host(signs="web", trusts=["web"]) as context:
        manifest = backed_up(context)
        path = folder(context, manifest) / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "label": "forged"}))
        assert_refused(context, context.catalog.get(manifest.id), "it is not signed", tmp_path)


def test_signature_moved_to_another_backup_is_refused(host: Any, tmp_path: Path) -> None:
    """The manifest contains its id, and the key of the signature the digest of the manifest."""
    with host(signs="web", trusts=["web"]) as context:
        signed = backed_up(context)
    with host(trusts=["web"]) as context:
        unsigned = backed_up(context)
        (old,) = (folder(context, signed) / "signatures").iterdir()
        context.store.put_small(f"backups/{unsigned.id}/signatures/{old.name}", old.read_bytes())
        assert_refused(context, unsigned, "it is not signed", tmp_path)


def test_run_with_an_unusable_signing_key_stops_before_anything_is_stored(
    host: Any, keys: Keys, tmp_path: Path
) -> None:
    keys.file("web").chmod(0o644)
    with host(signs="web") as context:
        with pytest.raises(IdentityError, match="Other users may read"):
            run_backup(context, REQUEST)
        assert not (tmp_path / "storage").exists()


def test_sign_backups_adopts_sound_backups_only(host: Any, tmp_path: Path) -> None:
    with host(trusts=["web"]) as context:
        sound, damaged = backed_up(context), backed_up(context)
    with host(signs="web", trusts=["web"]) as context:
        signed = backed_up(context)
        (folder(context, damaged) / damaged.details.key.rpartition("/")[2]).write_bytes(b"damaged")
        result = sign_backups(context)
        assert result.signed == (sound.id,) and result.already == (signed.id,)
        assert list(result.refused) == [damaged.id]
        assert read_details(context, sound, []).id == sound.id
        assert_refused(context, damaged, "it is not signed", tmp_path)


def test_sign_backups_does_not_vouch_for_what_it_could_not_read(host: Any) -> None:
    with host(trusts=["web"]) as context:
        read, unread = backed_up(context), backed_up(context)
    with host(signs="web", trusts=["web"]) as context:
        storage = Withholding(location=context.store.describe().removeprefix("the folder "))
        storage.needle = unread.details.key
        context = replace(context, store=open_store(storage, ""))
        result = sign_backups(context)
        assert result.signed == (read.id,)
        assert "could not be read" in result.refused[unread.id]
        storage.needle = f"{unread.id}/manifest.json"
        assert list(sign_backups(context).refused) == [unread.id]


@pytest.mark.parametrize(
    ("trusted", "reason"),
    [
        ({"REVOKED": True}, "the key 'web' is revoked"),
        ({"HOSTS": ["web-2"]}, "the key 'web' may not sign for the host web-1"),
        (None, "TRUSTED does not name its key"),
    ],
)
def test_sign_backups_with_a_key_that_does_not_count_signs_nothing(
    host: Any, keys: Keys, trusted: dict[str, Any] | None, reason: str
) -> None:
    with host(trusts=["other"]) as context:
        manifest = backed_up(context)
    trusts = ["other"] if trusted is None else [{"KEY": keys.line("web"), **trusted}]
    with host(signs="web", trusts=trusts) as context:
        result = sign_backups(context)
        assert not result.signed and reason in result.refused[manifest.id]


def test_sign_backups_without_a_key_says_how_to_make_one(host: Any) -> None:
    with host(trusts=["web"]) as context, pytest.raises(UsageError, match="generate_signing_key"):
        sign_backups(context)


def test_prune_never_removes_untrusted_backups_nor_trusted_ones_because_of_them(
    host: Any, settings: Any
) -> None:
    """A key was forgotten in TRUSTED, or somebody has put backups of their own into the storage."""
    clock = Clock()
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "RETENTION": {"last": 1}}
    made = []
    with host(signs="web", trusts=["web"], clock=clock) as context:
        made.append(backed_up(context).id)
    with host(signs="attacker", trusts=["web"], clock=clock) as context:
        for _ in range(3):
            clock.forward(hours=1)
            made.append(backed_up(context).id)
        clock.forward(days=1)
        assert prune(context).removed == ()
        clock.forward(days=3)
        assert prune(context).swept == ()
        assert [entry.id for entry in reversed(context.catalog.entries())] == made
        notes = plan_extract(context, ExtractRequest(to_dir=Path("/tmp/never-made"))).notes
        assert any("untrusted" in note and made[-1] in note for note in notes)


def test_untrusted_newest_backup_is_not_chosen(host: Any, tmp_path: Path) -> None:
    with host(signs="web", trusts=["web"]) as context:
        trusted = backed_up(context)
    with host(signs="attacker", trusts=["web"]) as context:
        backed_up(context)
        plan = plan_extract(context, ExtractRequest(to_dir=tmp_path / "new"))
        assert {tree.backup_id for tree in plan.trees} == {trusted.id}
