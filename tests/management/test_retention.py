"""Output and exit statuses of ``prune_backups``, ``pin_backup`` and ``monitor_backups``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.management.commands import Command, run_many
from tests.management.conftest import BackedUp


def test_prune_shows_the_plan_and_what_blocks_it(backed_up: BackedUp, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    shutil.copytree(backed_up.project.storage, storage)
    later = backed_up.id.replace("20", "21", 1)
    (storage / f"igny8/packs/web-1/uploads/{later}-0001.tar.zst.age").write_bytes(b"litter")
    prune = Command(["prune_backups"], storage=storage)
    shown, pinned, listed, detailed, dry, done = run_many(
        backed_up.project,
        Command(["prune_backups", "--dry-run"], storage=storage),
        Command(["pin_backup", backed_up.id, "--reason", "as long as it lasts"], storage=storage),
        Command(["list_backups"], storage=storage),
        Command(["show_backup", backed_up.id], storage=storage),
        Command(["prune_backups", "--dry-run", "--json"], storage=storage),
        prune,
    )
    assert "keep" in shown.ended(0).stdout
    assert "default, sites-data, uploads: newest, last 1 of 3, daily" in " ".join(shown.stdout.split())
    assert (
        "0 backups would be removed." in shown.stdout
        and "1 orphaned object (6 B) left for later" in shown.stdout
    )
    assert "is pinned: as long as it lasts" in pinned.ended(0).stdout
    assert "complete, pinned" in " ".join(listed.ended(0).stdout.split())
    assert ": as long as it lasts" in detailed.ended(0).stdout
    (verdict,) = dry.ended(0).json["plan"]["verdicts"]
    assert verdict["keep"] and verdict["reasons"] == ["pinned: as long as it lasts"]
    assert dry.json["dry_run"] and [item["size"] for item in dry.json["waiting"]] == [6]
    assert "0 backups removed." in done.ended(0).stdout
    pin, rules = [line for line in done.stdout.splitlines() if "pinned: " in line or "newest" in line]
    assert pin.startswith(backed_up.id) and rules.startswith(" " * len(backed_up.id))
    assert json.loads((storage / "igny8/marks.json").read_text())["marks"]

    # A later run failed, and a manifest cannot be read.
    run = json.loads((storage / f"igny8/runs/{backed_up.id}.json").read_text())
    failed = {**run, "id": backed_up.id[:-6] + "0000ff", "outcome": "failed"}
    failed["started"] = run["finished"]
    (storage / f"igny8/runs/{failed['id']}.json").write_text(json.dumps(failed))
    home = storage / "igny8/backups"
    shutil.copytree(home / backed_up.id, home / later)
    blocked, as_json = run_many(
        backed_up.project, prune, Command(["prune_backups", "--json"], storage=storage)
    )
    reason = "BLOCKED: no copy of files uploads of web-1 is removed: its newest run failed."
    assert f"{reason} Make a good backup of it first" in blocked.ended(3).stderr
    assert f"UNREADABLE: the manifest of backup {later}" in blocked.stderr
    assert f"IN THE FUTURE: backup {later}" in blocked.stderr
    assert as_json.ended(3).json["unreadable"] == [later]


def test_monitor_unhealthy_ends_with_status_7(backed_up: BackedUp, tmp_path: Path) -> None:
    metrics = tmp_path / "igny8_backup.prom"
    storage = tmp_path / "storage"
    shutil.copytree(backed_up.project.storage, storage)
    well, gone, as_json = run_many(
        backed_up.project,
        Command(["monitor_backups", "--prometheus", str(metrics)], storage=storage),
        Command(["monitor_backups"], storage=tmp_path / "gone"),
        Command(["monitor_backups", "--json"], storage=tmp_path / "gone"),
    )
    assert "FAILED" not in well.ended(0).stdout
    assert "OK      age, database default of web-1: " in well.stdout
    assert "igny8_backup_healthy 1.0\n" in metrics.read_text()
    assert "FAILED  storage, the folder" in gone.ended(7).stdout
    assert "1 of 1 condition FAILED" in gone.stderr
    found = as_json.ended(7).json
    assert found["healthy"] is False and found["conditions"][0]["name"] == "storage"
