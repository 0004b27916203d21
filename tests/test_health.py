"""The check for django-health-check, called as the library calls it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import RequestFactory

from igny8_backup.health import Backups
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify
from tests.docs.pages import blocks, page
from tests.operations.conftest import context, trees  # noqa: F401  (fixtures)

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    Backups._found = None
    yield
    Backups._found = None


def asked(check: Backups) -> str:
    """Return the error of the check, or an empty text."""
    error = asyncio.run(check.get_result()).error
    return str(error) if error else ""


def test_health_check_names_conditions_only_and_remembers_for_a_while(
    context: BackupContext,  # noqa: F811 - a fixture
    settings: Any,
    tmp_path: Path,
) -> None:
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "MONITOR": {"drilled": None}}
    run_backup(context, BackupRequest(trees=("sites", "uploads")))
    verify(context, VerifyRequest())
    assert asked(Backups()) == ""
    (stored,) = tmp_path.glob("storage/igny8/backups/*")
    shutil.rmtree(stored)
    assert asked(Backups()) == "", "it asks the storage once in five minutes"
    text = asked(Backups(max_age=timedelta()))
    assert text.startswith("Unavailable: ") and " FAILED: " in text and "storage" in text
    assert not any(name in text for name in ("web-1", "uploads", str(tmp_path)))
    assert Backups().labels == {"check": "Backups"}


def test_health_check_wrong_settings_are_unavailable(settings: Any) -> None:
    settings.IGNY8_BACKUP = {"JOBS": "T0KEN"}
    text = asked(Backups())
    assert "ConfigurationError" in text and "T0KEN" not in text


def test_monitor_page_shows_a_view_that_works(settings: Any) -> None:
    settings.IGNY8_BACKUP = {"JOBS": 0}
    (source,) = (text for text in blocks(page("how-to/alert"), "python") if "HealthCheckView" in text)
    found: dict[str, Any] = {}
    exec(source, found)
    (route,) = found["urlpatterns"]
    request = RequestFactory().get(f"/{route.pattern}", headers={"accept": "application/json"})
    response = asyncio.run(route.callback(request))
    assert response.status_code == 500 and b"ConfigurationError" in response.content
