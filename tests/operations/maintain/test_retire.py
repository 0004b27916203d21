"""``retire_host``: a host without alarms, only if a trusted key says so, and only until it runs again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from igny8_backup.errors import RefusedError, UsageError
from igny8_backup.formats import keys as object_keys
from igny8_backup.formats import records
from igny8_backup.formats.documents.retirement import SCHEMA, Retirement
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.maintain.inventory import read_inventory
from igny8_backup.operations.maintain.orphans import find_orphans
from igny8_backup.operations.maintain.retire import retire
from igny8_backup.operations.monitor.run import monitor
from tests.operations.clocks import Clock
from tests.operations.signed import Keys, SignedSite

pytestmark = pytest.mark.slow


def of_host(context: BackupContext, name: str, **changed: Any) -> BackupContext:
    return replace(context, config=replace(context.config, host=name, **changed))


def back_up(context: BackupContext, host: str) -> None:
    run_backup(of_host(context, host), BackupRequest(trees=("sites",)))


def alarms(context: BackupContext, host: str = "web-2") -> set[str]:
    return {item.name for item in monitor(context).failed if host in item.of}


@pytest.fixture
def site(host: Any, keys: Keys) -> SignedSite:
    """Host web-2 has made its last backup 30 days ago, web-1 has made one today."""
    site = SignedSite(host, Clock())
    with site.open() as context:
        back_up(context, "web-2")
        site.clock.forward(days=30)
        back_up(context, "web-1")
        assert "age" in alarms(context)
    return site


def test_retirement_counts_only_with_the_signature_of_a_key_that_may_retire_hosts(
    site: SignedSite, keys: Keys
) -> None:
    trusts = ["web", {"KEY": keys.line("ops"), "SIGNS": ["retirement"], "HOSTS": ["web-2"]}]
    with site.open("web", trusts) as context, pytest.raises(RefusedError, match="may not sign a retirement"):
        retire(context, "web-2", "replaced")
    with site.open("ops", trusts) as context:
        with pytest.raises(RefusedError, match="may not sign for the host web-1"):
            retire(context, "web-1", "replaced")
        last = read_inventory(context).hosts.seen["web-2"]
        forged = Retirement(schema=SCHEMA, host="web-2", reason="forged", retired=site.clock(), last_run=last)
        context.store.put_small(object_keys.retirement_key("web-2"), records.to_json(forged))
        assert alarms(context) >= {"age", "retired"}

        retire(context, "web-2", "replaced by web-3")
        assert not alarms(context)
        health = monitor(context)
        (shown,) = [item for item in health.conditions if item.name == "retired"]
        assert health.retired == ("web-2",) and shown.text.endswith(": replaced by web-3")
        assert not find_orphans(context).orphans
        for revoked in (["web"], ["web", {"KEY": keys.line("ops"), "SIGNS": ["check"]}]):
            with site.open("web", revoked) as reader:
                assert alarms(reader) >= {"age", "retired"}


def test_retirement_stored_again_hides_neither_another_host_nor_one_that_has_returned(
    site: SignedSite, keys: Keys
) -> None:
    trusts = ["web", {"KEY": keys.line("ops"), "SIGNS": ["retirement"]}]
    with site.open("ops", trusts) as context:
        retire(context, "web-2", "replaced")
        document = context.store.read_small(object_keys.retirement_key("web-2"))
        context.store.put_small(object_keys.retirement_key("web-1"), document)
        assert "retired" in alarms(context, "web-1")
        context.store.delete(object_keys.retirement_key("web-1"))
    with site.open("web", trusts) as context:
        back_up(context, "web-2")
        assert read_inventory(context).hosts.expected == ("web-1", "web-2")
        site.clock.forward(days=30)
        back_up(context, "web-1")
        assert "age" in alarms(context) and not monitor(context).retired


def test_setting_hosts_outranks_a_retirement(site: SignedSite) -> None:
    with site.open(trusts=[]) as context:
        retire(context, "web-2", "replaced")
        assert monitor(context).retired == ("web-2",), "without TRUSTED, no signature is needed"
        named = of_host(context, "web-1", hosts={"web-1": {}, "web-2": {}})
        assert "age" in alarms(named)
        with pytest.raises(UsageError, match="HOSTS names the host 'web-2'"):
            retire(named, "web-2", "replaced")
        with pytest.raises(UsageError, match="No host 'web-9'"):
            retire(context, "web-9", "replaced")
        with pytest.raises(UsageError, match="needs a reason"):
            retire(context, "web-2", " ")
