"""A report on a site that was backed up, verified and drilled, also by the command."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from igny8_backup.formats.documents.annotations import DRILLED, STORED
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.drill.run import DrillRequest, drill
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.report.build import build_report
from igny8_backup.operations.report.fingerprints import recipient_fingerprint
from igny8_backup.operations.report.model import Gap
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify
from igny8_backup.retention.rules import Policy
from tests.docs.pages import blocks
from tests.docs.pages import page as documentation
from tests.operations.clocks import Clock, by_clock
from tests.operations.signed import Keys

pytestmark = pytest.mark.slow

START = datetime(2020, 3, 1, 1, 15, tzinfo=UTC)
PERIOD = timedelta(days=90)


def back_up(context: BackupContext, *names: str) -> str:
    return run_backup(context, BackupRequest(trees=names or ("sites", "uploads"))).id


def test_report_has_the_evidence_for_each_part(
    context: BackupContext, trees: tuple[Path, Path], settings: Any
) -> None:
    clock = Clock(START)
    context = by_clock(context, clock)
    back_up(context)
    clock.forward(days=1)
    second = back_up(context)
    clock.forward(days=5)
    last = back_up(context)
    verify(context, VerifyRequest())
    drill(context, DrillRequest())
    trees[1].rename(trees[1].with_name("elsewhere"))
    clock.forward(hours=1)
    failed = back_up(context)
    report = build_report(context, PERIOD)
    sites, uploads = report.parts
    assert (sites.part.name, sites.copies, sites.newest, sites.points) == ("sites", 4, failed, 4)
    assert (uploads.copies, uploads.newest, uploads.recovery_seconds is None) == (3, last, False)
    started = {item.id: item.started for item in report.backups}
    assert uploads.gaps == (Gap(begin=started[second], end=started[last]),)
    assert uploads.longest_seconds == 5 * 86_400
    assert uploads.verified and uploads.drilled
    assert {(check.depth, check.damaged, check.backup) for check in report.checks} == {
        (STORED, 0, last),
        (DRILLED, 0, last),
    }
    assert [(run.id, run.outcome, run.errors) for run in report.failed_runs] == [
        (failed, "incomplete", {"uploads": "FilesError"})
    ]
    assert [item.state for item in report.backups[0].copies] == ["complete", "failed"]
    assert {item.name for item in report.findings} >= {"complete"}
    assert report.conditions > len(report.findings)


def test_report_removed_backups_make_no_gap(context: BackupContext) -> None:
    clock = Clock(START)
    context = by_clock(context, clock)
    for _ in range(4):
        clock.forward(days=1)
        back_up(context, "sites")
    context = replace(context, config=replace(context.config, retention=Policy(last=2)))
    assert len(prune(context).removed) == 2
    report = build_report(context, PERIOD)
    assert len(report.backups) == 2 and report.parts[0].points == 4 and not report.parts[0].gaps


def test_report_fingerprints_are_those_of_ssh_keygen(context: BackupContext, keys: Keys, host: Any) -> None:
    with host(signs="server", trusts=["server"]) as opened:
        back_up(opened)
        report = build_report(opened, PERIOD)
    signing, trusted = report.keys
    assert signing.use == "signing" and trusted.use == "trusted"
    assert signing.fingerprint == trusted.fingerprint == recipient_fingerprint(keys.line("server"))
    assert report.policy.signatures_required and report.backups[0].signer == trusted.name


def run(*argv: str) -> str:
    out = StringIO()
    call_command("report_backups", *argv, stdout=out, stderr=out)
    return out.getvalue()


def test_command_writes_a_private_page_and_json(context: BackupContext, tmp_path: Path) -> None:
    back_up(context)
    page = tmp_path / "report.html"
    shown = json.loads(run("--json", "--html", str(page)))
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert "uploads of web-1" in page.read_text() and shown["parts"][0]["part"]["host"] == "web-1"
    text = run("--html", str(page), "--redact")
    shown_by_docs = blocks(documentation("how-to/report"), "console")[0].splitlines()[1]
    assert text == f"{shown_by_docs.replace('report.html', str(page))}\n"
    assert "web-1" not in page.read_text() and "uploads" not in page.read_text()


@pytest.mark.usefixtures("context")
def test_command_wrong_use_is_refused(tmp_path: Path) -> None:
    missing = "/proc/none/report.html"
    for argv in ([], ["--json", "--days", "0"], ["--html", str(tmp_path)], ["--html", missing]):
        with pytest.raises(CommandError) as caught:
            run(*argv)
        assert caught.value.returncode in (1, 2) and "Traceback" not in str(caught.value)
