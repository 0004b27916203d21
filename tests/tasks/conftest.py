"""A project that uses a real Redis as broker and result backend."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery

from tests.services.project import Project
from tests.services.redis import RedisServer
from tests.tasks.celery_app import client

SETTINGS = """
CELERY_RESULT_BACKEND = CELERY_BROKER_URL
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
IGNY8_BACKUP["LOGS"] = {{"logs": {not_mounted!r}}}
"""


@pytest.fixture
def queued(project: Project, redis_server: RedisServer) -> Project:
    """A project with rows and files whose ``LOGS`` name a missing folder."""
    redis_server.command("FLUSHALL")
    project.seed_small()
    project.environment["CELERY_BROKER_URL"] = redis_server.url
    project.settings(SETTINGS.format(not_mounted=str(project.folder / "not mounted")))
    return project


@pytest.fixture
def app(queued: Project, redis_server: RedisServer) -> Iterator[Celery]:
    """A client of the same broker."""
    with client(redis_server.url) as made:
        yield made
