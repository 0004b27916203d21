"""One line of JSON for each run, logged with the settings that the documentation shows."""

from __future__ import annotations

import json
import logging
import logging.config
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.operations.notify.alarms import Alarm
from igny8_backup.operations.notify.redact import HIDDEN
from igny8_backup.operations.notify.report import Report
from igny8_backup.operations.notify.run_log import logger
from tests.docs.pages import blocks, page
from tests.operations.conftest import Notes

PAGE = "how-to/log-and-watch"

pytestmark = pytest.mark.usefixtures("context")


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[Path]:
    """The file of the example, in a temporary folder."""
    file = tmp_path / "runs.jsonl"
    source = blocks(page(PAGE), "python")[0].replace("/var/log/app/backup-runs.jsonl", str(file))
    found: dict[str, Any] = {}
    exec(source, found)
    logging.config.dictConfig(found["LOGGING"])
    try:
        yield file
    finally:
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        logger.propagate, logger.level = True, logging.NOTSET


def test_run_log_has_a_line_for_each_run(lines: Path, settings: Any) -> None:
    settings.EMAIL_HOST_PASSWORD = "mail-word"
    with Report("backup_all", Notes()):
        pass
    with Report("backup_all", Notes()) as report:
        alarm = Alarm("uploads", "FilesError")
        report.fail("uploads FAILED: The folder does not exist.", "mail-word", alarms=[alarm])
    with pytest.raises(KeyError), Report("backup_sites", Notes()):
        raise KeyError("a\nb")
    with Report("backup_db", Notes()) as report:
        report.suppress()
    good, bad, raised = (json.loads(line) for line in lines.read_text().splitlines())
    assert (good["command"], good["ok"], good["failed"], good["text"]) == ("backup_all", True, [], "")
    assert bad["text"] == f"uploads FAILED: The folder does not exist.\n{HIDDEN}"
    assert raised["ok"] is False and raised["failed"] == [{"part": "", "reason": "KeyError"}]
    shown = json.loads(blocks(page(PAGE), "json")[0])
    assert {**bad, "text": shown["text"], "started": shown["started"], "seconds": 12.5} == shown


def test_run_log_prints_nothing_without_settings(capfd: pytest.CaptureFixture[str]) -> None:
    with Report("backup_all", Notes()) as report:
        report.fail("It did not work.")
    assert capfd.readouterr() == ("", "")
