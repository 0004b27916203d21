"""A soft time limit ends a task by name and cleanly; the worker goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from igny8_backup.errors import StoppedError
from tests.management.state import manifests
from tests.services.project import Project
from tests.tasks.celery_app import SECONDS, worker
from tests.tasks.test_killed import GATED, HALF

MAILED = """
ADMINS = [("operator", "operator@example.org")]
EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = {folder!r}
STORAGES["dbbackup"]["BACKEND"] = "gated.Gated"
STORAGES["dbbackup"]["OPTIONS"]["location"] = {storage!r}
"""


def runs(project: Project) -> list[dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in (project.storage / "igny8/runs").glob("2*.json")]
    return sorted(found, key=lambda run: str(run["started"]))


@pytest.mark.slow
def test_soft_time_limit_ends_a_backup_by_name(queued: Project, app: Celery) -> None:
    mails, gate = queued.folder / "mails", queued.folder / "gate"
    settings = Path(queued.folder, "settings/further_settings.py")
    further = MAILED.format(folder=str(mails), storage=str(queued.storage))
    settings.write_text(settings.read_text() + further)
    settings.with_name("gated.py").write_text(GATED.format(gate=str(gate), half=HALF))
    (queued.uploads / "large").write_bytes(b"0123456789abcdef" * (1 << 17))
    with worker(queued, "limited", "--pool=prefork") as program:
        gate.write_text("/packs/")
        sent = app.send_task(
            "igny8_backup.backup_sites", ["uploads"], {"full": True}, soft_time_limit=4, time_limit=120
        )
        with pytest.raises(StoppedError) as caught:
            sent.get(timeout=SECONDS)
        gate.unlink()
        text = str(caught.value)
        assert "The task igny8_backup.backup_sites was stopped by its soft time limit of 4 seconds." in text
        assert "No backup was recorded." in text and "'soft_time_limit'" in text
        assert [(run["outcome"], run["errors"]) for run in runs(queued)] == [("stopped", {})]
        assert manifests(queued) == []
        assert "fault of igny8_backup" not in program.output
        (mail,) = [path.read_text() for path in mails.iterdir()]
        assert "soft time limit of 4 seconds" in " ".join(mail.split())
        again = app.send_task("igny8_backup.backup_sites", ["uploads"]).get(timeout=SECONDS)
    assert [json.loads(path.read_text())["id"] for path in manifests(queued)] == [again["id"]]
