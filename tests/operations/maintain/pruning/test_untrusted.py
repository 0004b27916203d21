"""What no trusted key signed is never removed by a rule, and removes nothing."""

from __future__ import annotations

import hashlib
import io
import sys
from dataclasses import replace
from typing import Any

import pytest

from igny8_backup.catalog.signatures import store_document
from igny8_backup.formats import keys as object_keys
from igny8_backup.formats import records
from igny8_backup.formats.manifest import Manifest
from igny8_backup.management.commands import prune_backups
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.maintain.pin import pin
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.maintain.pruning.remove import REPLACED
from igny8_backup.operations.maintain.pruning.untrusted import remove_untrusted, untrusted_backups
from igny8_backup.signing import signing_key
from igny8_backup.signing.trust import MANIFEST
from tests.operations.clocks import Clock
from tests.operations.signed import Keys

pytestmark = pytest.mark.slow


@pytest.fixture
def clock(settings: Any, context: BackupContext) -> Clock:
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "RETENTION": {"last": 1}}
    return Clock()


def back_up(context: BackupContext, clock: Clock) -> Manifest:
    clock.forward(days=1)
    manifest = run_backup(context, BackupRequest(trees=("sites",), full=True)).manifest
    assert manifest
    return manifest


def stored(context: BackupContext, *manifests: Manifest) -> bool:
    wanted = {item.key for manifest in manifests for item in manifest.objects()}
    return wanted | {object_keys.manifest_key(item.id) for item in manifests} <= {
        item.key for item in context.store.list()
    }


def without_packs(manifest: Manifest) -> bytes:
    """A forged manifest that names no packs."""
    trees = tuple(replace(tree, packs=(), pack_lists=()) for tree in manifest.trees)
    return records.to_json(replace(manifest, trees=trees).as_stored())


def digest_of(context: BackupContext, manifest: Manifest) -> str:
    stored = context.store.read_small(object_keys.manifest_key(manifest.id))
    return hashlib.sha256(stored).hexdigest()


def prune_for_days(context: BackupContext, clock: Clock) -> list[str]:
    removed: list[str] = []
    for _ in range(3):
        result = prune(context)
        removed += [*result.removed, *(item.key for item in result.swept)]
        clock.forward(days=1)
    return removed


def test_prune_with_trusted_set_over_thirty_unsigned_backups_removes_nothing(host: Any, clock: Clock) -> None:
    with host(clock=clock) as context:
        made = [back_up(context, clock) for _ in range(30)]
    with host(signs="web", trusts=["web"], clock=clock) as context:
        signed = back_up(context, clock)
        assert len(untrusted_backups(context)) == 30
        assert prune_for_days(context, clock) == []
        assert stored(context, *made, signed)


def test_prune_with_the_key_of_one_host_forgotten_removes_nothing_of_it(host: Any, clock: Clock) -> None:
    with host(signs="shop", trusts=["web", "shop"], clock=clock) as context:
        forgotten = [back_up(context, clock) for _ in range(4)]
    with host(signs="web", trusts=["web"], clock=clock) as context:
        newest = [back_up(context, clock) for _ in range(2)]
        assert newest[0].id in prune_for_days(context, clock), "what is trusted follows the policy"
        assert stored(context, *forgotten, newest[1])


@pytest.mark.parametrize("signs", ["web", ""])
def test_prune_keeps_the_packs_of_a_backup_whose_manifest_somebody_has_replaced(
    host: Any, clock: Clock, signs: str
) -> None:
    """Whoever may write, but not delete, must not make prune_backups delete for them."""
    trusts = [signs] if signs else []
    with host(signs=signs, trusts=trusts, clock=clock) as context:
        victim = back_up(context, clock)
        key = object_keys.manifest_key(victim.id)
        context.store.put_small(key, without_packs(victim))
        if signs:  # then the name of the signature is enough
            context.store.put_small(object_keys.run_key(victim.id), b"{}")
        pin(context, victim.id, "keep the folder of the backup")
        back_up(context, clock)
        assert prune_for_days(context, clock) == []
        assert all(context.store.exists(item.key) for item in victim.objects())
        assert any(f"the manifest of backup {victim.id}" in line for line in prune(context).problems())


@pytest.mark.parametrize("claims", [False, True], ids=["", "claims a rotation"])
def test_prune_keeps_the_packs_of_a_backup_whose_manifest_another_host_has_replaced(
    host: Any, clock: Clock, keys: Keys, claims: bool
) -> None:
    """Its key may sign for its own host only, but under the id of any backup.

    The manifest may claim that it replaces the other one because the recipients were rotated."""
    trusts = ["web", {"KEY": keys.line("shop"), "HOSTS": ["shop"]}]
    with host(signs="web", trusts=trusts, clock=clock) as context:
        victim = back_up(context, clock)
        key = object_keys.manifest_key(victim.id)
        replaces = (digest_of(context, victim),) if claims else ()
        forged = without_packs(replace(victim, host="shop", blocks=None, replaces=replaces))
        store_document(context.store, signing_key.load(keys.file("shop")), key, MANIFEST, forged)
        (entry,) = context.catalog.entries()
        assert entry.manifest and entry.manifest.host == "shop" and not entry.untrusted
        pin(context, victim.id, "keep the folder of the backup")
        back_up(context, clock)
        assert prune_for_days(context, clock) == []
        assert all(context.store.exists(item.key) for item in victim.objects())
        assert any(f"the manifest of backup {victim.id}" in line for line in prune(context).problems())


def test_prune_removes_no_folder_whose_manifest_another_host_has_replaced(
    host: Any, clock: Clock, keys: Keys
) -> None:
    """Retention no longer keeps the forged backup, whose folder has the objects of another host."""
    trusts = ["web", {"KEY": keys.line("shop"), "HOSTS": ["shop"]}]
    with host(signs="web", trusts=trusts, clock=clock) as context:
        victim, newer = back_up(context, clock), back_up(context, clock)
        shop = signing_key.load(keys.file("shop"))
        for manifest in (victim, newer):
            forged = without_packs(replace(manifest, host="shop", blocks=None))
            store_document(context.store, shop, object_keys.manifest_key(manifest.id), MANIFEST, forged)
        back_up(context, clock)
        result = prune(context)
        assert result.refused == {victim.id: REPLACED} and result.removed == ()
        assert all(context.store.exists(item.key) for item in victim.objects())


def test_unsigned_manifest_that_claims_a_rotation_loses_no_packs(host: Any, clock: Clock) -> None:
    with host(signs="web", trusts=["web"], clock=clock) as context:
        victim = back_up(context, clock)
        forged = without_packs(replace(victim, replaces=(digest_of(context, victim),)))
        context.store.put_small(object_keys.manifest_key(victim.id), forged)
        context.store.put_small(object_keys.run_key(victim.id), b"no record")
        back_up(context, clock)
        assert prune_for_days(context, clock) == []
        assert all(context.store.exists(item.key) for item in victim.objects())


def test_remove_untrusted_removes_what_was_listed_and_no_pinned_or_trusted_backup(
    host: Any, clock: Clock
) -> None:
    with host(signs="attacker", trusts=["web"], clock=clock) as context:
        first, pinned, later = (back_up(context, clock) for _ in range(3))
        pin(context, pinned.id, "evidence")
    with host(signs="web", trusts=["web"], clock=clock) as context:
        trusted = back_up(context, clock)
        result = remove_untrusted(context, [first.id, pinned.id, trusted.id])
        assert result.removed == (first.id,)
        assert list(result.kept) == [pinned.id, trusted.id]
        assert stored(context, pinned, later, trusted) and not stored(context, first)
        assert prune(context).complete, "the removal is recorded and signed"


class Typed(io.StringIO):
    """What somebody types on a ``terminal``, or what a pipe delivers."""

    def __init__(self, line: str, terminal: bool) -> None:
        super().__init__(f"{line}\n")
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize(
    ("terminal", "answer", "removes"),
    [(True, "remove 2", True), (True, "yes", False), (True, "remove 3", False), (False, "remove 2", False)],
)
def test_prune_untrusted_command_removes_only_after_the_number_was_typed(
    host: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch, terminal: bool, answer: str, removes: bool
) -> None:
    with host(signs="web", trusts=["other"], clock=clock) as context:
        made = [back_up(context, clock) for _ in range(2)]
    with host(signs="other", trusts=["other"]) as context:
        monkeypatch.setattr(sys, "stdin", Typed(answer, terminal))
        status = 0
        try:
            command = prune_backups.Command()
            command.run_from_argv(["manage.py", "prune_backups", "--untrusted"])
        except SystemExit as stopped:
            status = int(str(stopped.code))
        assert status == (0 if removes else 2)
        assert stored(context, *made) != removes
