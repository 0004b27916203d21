"""Exceptions from outside end a backup; failures of the work do not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded, WorkerShutdown
from django.core.files.storage import FileSystemStorage

from igny8_backup.common.outside import is_from_outside
from igny8_backup.formats.manifest import STOPPED
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.store import open_store
from tests.operations.conftest import context, trees

__all__ = ["context", "trees"]


def of(package: str, name: str, base: type[BaseException] = Exception) -> BaseException:
    """Return an exception like that of a package that need not be installed."""
    made: BaseException = type(name, (base,), {"__module__": f"{package}.timeouts"})()
    return made


OUTSIDE = [
    SoftTimeLimitExceeded(),
    WorkerShutdown(),
    of("rq", "JobTimeoutException", type(of("rq", "BaseTimeoutException"))),
    of("dramatiq", "TimeLimitExceeded", type(of("dramatiq", "Interrupt", BaseException))),
    of("gevent", "Timeout", BaseException),
    MemoryError(),
    KeyboardInterrupt(),
    SystemExit(1),
]


@pytest.mark.parametrize("error", OUTSIDE, ids=lambda error: type(error).__name__)
def test_exception_from_outside_is_recognized(error: BaseException) -> None:
    assert is_from_outside(error)


@pytest.mark.parametrize("error", [OSError("full"), TimeoutError("slow"), ValueError(), RuntimeError()])
def test_failure_of_the_work_is_not_from_outside(error: Exception) -> None:
    assert not is_from_outside(error)


class Ending(FileSystemStorage):
    """A storage in which the worker ends the job while a pack is stored."""

    error: BaseException

    def save(self, name: str | None, content: Any, max_length: int | None = None) -> str:
        if "/packs/" in f"/{name}":
            raise self.error
        return super().save(name, content, max_length)


@pytest.mark.parametrize("error", OUTSIDE, ids=lambda error: type(error).__name__)
def test_backup_ended_from_outside_stops_at_once(
    context: BackupContext, tmp_path: Path, error: BaseException
) -> None:
    storage = Ending(location=tmp_path / "other storage")
    (tmp_path / "other storage").mkdir()
    storage.error = error
    with open_store(storage, "igny8/") as store:
        ended = replace(context, store=store)
        with pytest.raises(type(error)):
            run_backup(ended, BackupRequest(trees=("sites", "uploads")))
        (run,) = ended.catalog.runs()
        assert (run.outcome, run.errors) == (STOPPED, {}), "neither failed nor continued with the next tree"
        assert ended.catalog.manifests() == []
