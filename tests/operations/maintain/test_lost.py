"""A manifest that is gone without a record of its removal is lost, and what it named is kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from igny8_backup.formats import keys as object_keys
from igny8_backup.formats import records
from igny8_backup.formats.documents.annotations import Removal
from igny8_backup.formats.manifest import Manifest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.documents import record_removal
from igny8_backup.operations.maintain.accept import accept_loss
from igny8_backup.operations.maintain.inventory import read_inventory
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.maintain.pruning.sweep import plan_sweep, sweep
from igny8_backup.operations.monitor.run import monitor
from igny8_backup.operations.sign import sign_removals
from igny8_backup.store import MissingObjectError
from tests.operations.clocks import Clock
from tests.operations.signed import Keys, SignedSite, backed_up

pytestmark = pytest.mark.slow


class Site(SignedSite):
    """Hosts whose backups are stored in one storage; ``web`` is the key of the host web-1."""

    def back_up(self, context: BackupContext, host: str = "web-1") -> Manifest:
        self.clock.forward(hours=1)
        config = replace(
            context.config, host=host, state_dir=context.config.state_dir.with_name(f"state-{host}")
        )
        return backed_up(replace(context, config=config))


@pytest.fixture
def site(host: Any, settings: Any) -> Site:
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "RETENTION": {"last": 1}}
    return Site(host, Clock())


def kept(context: BackupContext, *manifests: Manifest) -> bool:
    return all(context.store.exists(item.key) for manifest in manifests for item in manifest.objects())


def lost(context: BackupContext) -> set[str]:
    return {run.id for run in read_inventory(context).lost}


def swept_after_days(site: Site, context: BackupContext) -> set[str]:
    """Prune on three days; return the keys of all swept objects."""
    found = set()
    for _ in range(3):
        site.clock.forward(days=1)
        found |= {item.key for item in prune(context).swept}
    return found


def test_prune_lost_manifest_keeps_its_objects_and_all_packs_of_its_host(site: Site) -> None:
    with site.open(signs="", trusts=()) as context:
        gone, other, newest = (site.back_up(context, host) for host in ("web-1", "web-2", "web-2"))
        orphan = f"packs/web-1/sites/{gone.id}-0099.tar.zst"
        stray = f"packs/web-2/sites/{other.id}-0099.tar.zst"
        for key in (orphan, stray):
            context.store.put_small(key, b"x")
        context.store.delete(object_keys.manifest_key(gone.id))
        result = prune(context)
        assert f"Backup {gone.id} of host web-1 is gone" in result.lost[0] and not result.complete
        swept = swept_after_days(site, context)
        assert stray in swept and orphan not in swept, "packs of the other host are known"
        assert kept(context, gone, newest)
        assert "lost" in {condition.name for condition in monitor(context).failed}
        accept_loss(context, gone.id)
        assert orphan in swept_after_days(site, context)
        assert not kept(context, gone) and not lost(context)


def test_run_record_of_a_lost_backup_is_never_forgotten(site: Site) -> None:
    with site.open(signs="", trusts=()) as context:
        gone = site.back_up(context)
        context.store.delete(object_keys.manifest_key(gone.id))
        site.clock.forward(days=200)
        newest = site.back_up(context)
        prune(context)
        assert lost(context) == {gone.id} and kept(context, gone, newest)


def test_run_record_that_cannot_be_read_keeps_the_packs_of_all_hosts(site: Site) -> None:
    """Somebody deletes a manifest and overwrites its run record: nobody knows whose backup is gone."""
    with site.open(signs="", trusts=()) as context:
        gone, newest = site.back_up(context, "web-2"), site.back_up(context)
        context.store.delete(object_keys.manifest_key(gone.id))
        context.store.put_small(object_keys.run_key(gone.id), b"{")
        assert not swept_after_days(site, context)
        assert kept(context, gone, newest)


def test_prune_records_the_removal_for_readers_that_trust_its_key(site: Site) -> None:
    with site.open() as context:
        first, second = site.back_up(context), site.back_up(context)
        result = prune(context)
        assert result.removed == (first.id,) and result.complete
        data = context.store.read_small(object_keys.removal_key(first.id))
        removal = records.from_json(Removal, data, name="the removal", schema=1)
        assert (removal.id, removal.host, removal.parts) == (
            first.id,
            "web-1",
            ("files:sites", "files:uploads"),
        )
    with site.open(signs="") as context:
        assert lost(context) == set()
        assert [entry.id for entry in context.catalog.entries()] == [second.id]


def test_removal_that_only_the_run_record_claims_is_a_loss(site: Site) -> None:
    """Whoever may write to the storage deletes a manifest, and marks the run record as prune_backups does."""
    with site.open() as context:
        gone, newest = site.back_up(context), site.back_up(context)
        run = context.catalog.run(gone.id)
        assert run
        forged = replace(run, pruned=site.clock())
        context.store.put_small(object_keys.run_key(gone.id), records.to_json(forged))
        context.store.delete(object_keys.manifest_key(gone.id))
        assert lost(context) == {gone.id}
        swept_after_days(site, context)
        assert kept(context, gone, newest)
        assert "sign_backups --removals" in prune(context).lost[0]
        assert sign_removals(context).signed == (gone.id,)
        assert lost(context) == set()


def forge(context: BackupContext, manifest: Manifest, how: str, other: Manifest) -> None:
    """Store a record of the removal of ``manifest`` that must not count."""
    target = object_keys.removal_key(manifest.id)
    signing_key = context.load_signing_key()
    assert signing_key
    removal = Removal(
        schema=1, id=manifest.id, host="web-1", reason="forged", removed=context.clock(), parts=("sites",)
    )
    kind = "check" if how == "another kind" else "removal"
    if how == "another id":
        removal = replace(removal, id=other.id)
    elif how == "another host":
        removal = replace(removal, host="web-9")
    document = records.to_json(removal)
    if how != "unsigned":
        signature = signing_key.sign(document, f"{kind}@igny8-backup")
        context.store.put_small(object_keys.signature_key(target, "removal", document), signature)
    context.store.put_small(target, document)


@pytest.mark.parametrize("how", ["unsigned", "another id", "another kind", "another host"])
def test_removal_record_that_was_not_signed_for_the_backup_does_not_count(site: Site, how: str) -> None:
    with site.open() as context:
        gone, other = site.back_up(context), site.back_up(context)
        forge(context, gone, how, other)
        context.store.delete(object_keys.manifest_key(gone.id))
        assert lost(context) == {gone.id}


def test_removal_signed_by_a_key_for_another_host_does_not_count(site: Site, keys: Keys) -> None:
    trusts = ["web", {"KEY": keys.line("shop"), "HOSTS": ["shop"]}]
    with site.open() as context:
        gone, other = site.back_up(context), site.back_up(context)
    with site.open(signs="shop", trusts=trusts) as context:
        forge(context, gone, "signed", other)
        context.store.delete(object_keys.manifest_key(gone.id))
        assert lost(context) == {gone.id}


@pytest.mark.parametrize("limit", [{"HOSTS": ["shop"]}, {"PARTS": ["logs"]}])
def test_removal_signed_by_a_limited_key_does_not_count_where_nobody_knows_the_host(
    site: Site, keys: Keys, limit: dict[str, list[str]]
) -> None:
    """Whoever has the key of another host also makes the run record unreadable, which names the host."""
    trusts = ["web", {"KEY": keys.line("shop"), **limit}]
    with site.open() as context:
        gone, newest = site.back_up(context), site.back_up(context)
    with site.open(signs="shop", trusts=trusts) as context:
        record_removal(context, gone.id, host="shop", parts=(), reason="forged")
        context.store.delete(object_keys.manifest_key(gone.id))
        if "PARTS" in limit:
            assert lost(context) == {gone.id}, "the run record names parts that the removal leaves out"
        context.store.put_small(object_keys.run_key(gone.id), b"{")
    with site.open(trusts=trusts) as context:
        swept_after_days(site, context)
        assert kept(context, gone, newest)


@pytest.mark.parametrize("dry_run", [True, False])
def test_prune_without_a_key_removes_nothing_where_removals_must_be_signed(site: Site, dry_run: bool) -> None:
    with site.open() as context:
        made = [site.back_up(context) for _ in range(2)]
    with site.open(signs="") as context:
        result = prune(context, dry_run=dry_run)
        assert result.removed == () and not result.complete
        assert result.refused == {made[0].id: "this host has no signing key"}
        assert "NOT REMOVED" in result.problems()[0]
        assert kept(context, *made) and lost(context) == set()


def test_sweep_reads_the_manifests_again_before_it_removes_anything(site: Site) -> None:
    with site.open(signs="", trusts=()) as context:
        manifest = site.back_up(context)
        document = context.store.read_small(object_keys.manifest_key(manifest.id))
        stray = f"packs/web-1/sites/{manifest.id}-0099.tar.zst"
        context.store.put_small(stray, b"x")
        context.store.delete(object_keys.manifest_key(manifest.id))
        context.store.delete(object_keys.run_key(manifest.id))
        list(sweep(context, plan_sweep(context), lambda: None))
        site.clock.forward(days=1)
        plan = plan_sweep(context)
        assert {item.key for item in manifest.objects()} < {item.key for item in plan.due}
        # A run that nobody saw stores its manifest now.
        context.store.put_small(object_keys.manifest_key(manifest.id), document)
        assert [item.key for item in sweep(context, plan, lambda: None)] == [stray]
        assert kept(context, manifest)
        with pytest.raises(MissingObjectError):
            context.store.read_small(stray)
