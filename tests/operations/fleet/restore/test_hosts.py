"""Fleet restores after hosts were added, retired or renamed since the backup."""

from __future__ import annotations

import pytest

from igny8_backup.errors import UsageError
from igny8_backup.formats.documents.fleet_restore import UNDO
from igny8_backup.operations.fleet.restore.coordinate import coordinating
from igny8_backup.operations.fleet.restore.host import run_host_restore
from igny8_backup.operations.fleet.restore.host_request import HostRequest
from igny8_backup.operations.restore.planning.plan import RestorePlan, RestoreRequest
from igny8_backup.operations.restore.run import RestoreSession
from tests.operations.fleet.conftest import NAMES
from tests.operations.fleet.restore.live import DEFACED, GOOD, POLICY, LiveFleet


def by_hand(live: LiveFleet, host: str, from_host: str = "") -> RestorePlan:
    """Restore the part of a host as an operator does there; return the plan."""
    session = RestoreSession(live.context(host))
    plan = session.plan(RestoreRequest(backup_id=live.id, workers=POLICY, from_host=from_host))
    session.execute(plan)
    return plan


def rename(live: LiveFleet, old: str, new: str) -> None:
    """Give a machine a new name in the settings of all hosts; its files and its ``STATE_DIR`` stay."""
    hosts = {name: settings for name, settings in live.fleet.settings["HOSTS"].items() if name != old}
    live.fleet.settings["HOSTS"] = {**hosts, new: {"queue": f"backup-{new}", "sites": [old]}}
    live.fleet.own[new] = {"STATE_DIR": live.fleet.folder / f"state-{old}"}


def test_host_added_since_the_backup_keeps_its_files(live: LiveFleet) -> None:
    page = live.fleet.folder / "web-4" / "index.html"
    page.parent.mkdir()
    page.write_text("the start page of web-4\n")
    live.fleet.settings["SITES"]["web-4"] = page.parent
    live.fleet.settings["HOSTS"]["web-4"] = {"queue": "backup-web-4", "sites": ["web-4"]}
    result = live.run()
    assert result.complete and not result.problems and not result.warnings
    assert {host.host for host in result.hosts} == {"web-1", "web-2", "web-3"}
    assert live.pages() == GOOD and page.read_text() == "the start page of web-4\n"
    assert live.context("web-4").journals.all() == []
    with pytest.raises(UsageError, match="has no part in the fleet restore .* for web-1, web-2, web-3"):
        run_host_restore(live.context("web-4"), HostRequest(restore=result.record.id, host="web-4"))
    with pytest.raises(UsageError, match="no part that could be restored on the host 'web-4'"):
        by_hand(live, "web-4")


def test_renamed_host_is_refused_by_the_fleet_and_restored_by_hand(live: LiveFleet) -> None:
    rename(live, "web-3", "shop")
    with pytest.raises(UsageError, match="declares no queue of the host 'web-3'") as caught:
        live.run()
    assert f"restore_all {live.id}, and add --from-host with the old name" in str(caught.value)
    assert live.pages() == DEFACED and live.ids() == []
    with pytest.raises(UsageError, match="no part that could be restored on the host 'shop'") as caught:
        by_hand(live, "shop")
    assert "--from-host" in str(caught.value)

    by_hand(live, "shop", from_host="web-3")
    notes = "\n".join(by_hand(live, "web-1").notes)
    assert "The part of web-3 in this fleet backup was restored on the host shop, at" in notes
    assert "also has parts of web-2. To restore" in notes
    assert not any("also has parts" in note for note in by_hand(live, "web-2").notes)
    assert live.pages() == GOOD


def test_host_that_restores_the_part_of_another_one_has_restored_both(live: LiveFleet) -> None:
    del live.fleet.settings["HOSTS"]["web-3"]
    live.fleet.settings["HOSTS"]["web-2"]["sites"] = ["web-2", "web-3"]
    by_hand(live, "web-2")
    by_hand(live, "web-2", from_host="web-3")
    notes = "\n".join(by_hand(live, "web-1").notes)
    assert "The host web-2 has restored this fleet backup, at" in notes
    assert "The part of web-3 in this fleet backup was restored on the host web-2, at" in notes
    assert "also has parts" not in notes
    assert live.pages() == GOOD


def test_undo_for_a_renamed_host_says_how_to_undo_by_hand(live: LiveFleet) -> None:
    live.run()
    rename(live, "web-3", "shop")
    with pytest.raises(UsageError, match="run undo_restore on each host, without --fleet"):
        live.run(UNDO)
    assert live.pages() == GOOD


def test_plans_of_a_fleet_restore_send_nobody_to_the_other_hosts(live: LiveFleet) -> None:
    by_hand(live, "web-2")
    with coordinating(live.context(), live.request(), live.send) as coordinator:
        plan = coordinator.plan()
    assert [host.host for host in plan.hosts] == list(NAMES) and not plan.blockers
    assert not [note for host in plan.hosts for note in host.notes if "fleet backup" in note]
