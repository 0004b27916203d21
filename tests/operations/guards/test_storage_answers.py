"""A storage that does not answer, or refuses the credentials, is reported before the next backup fails."""

from __future__ import annotations

from typing import Any

import pytest

from igny8_backup.conf import Problem, get_config
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.guards import storage_answers
from tests.services.s3 import RcloneS3

S3 = "storages.backends.s3.S3Storage"


def problems(settings: Any, context: BackupContext, options: dict[str, Any]) -> list[Problem]:
    """Return the problems if the backups are in a folder, and their copies in S3 with these options."""
    settings.STORAGES = {**settings.STORAGES, "offsite": {"BACKEND": S3, "OPTIONS": options}}
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "COPIES": {"offsite": {"storage": "offsite"}}}
    return storage_answers.problems(get_config())


@pytest.mark.parametrize("changed", [{"secret_key": "wrong" * 8}, {"access_key": "unknown-key"}])
def test_refused_credentials_are_reported(
    settings: Any, context: BackupContext, s3_server: RcloneS3, changed: dict[str, str]
) -> None:
    assert problems(settings, context, s3_server.options()) == []
    (problem,) = problems(settings, context, s3_server.options(**changed))
    assert problem.id == "igny8_backup.W013" and problem.message.startswith("Copy offsite: ")
    assert "Backups would not be copied." in problem.message and problem.hint
    assert "wrongwrong" not in str(problem)


def test_server_that_does_not_answer_is_reported(
    settings: Any, context: BackupContext, s3_server: RcloneS3
) -> None:
    (problem,) = problems(settings, context, s3_server.options("http://127.0.0.1:1"))
    assert "127.0.0.1:1 refused the connection" in problem.message
