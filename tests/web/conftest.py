"""Fixtures for the pages in the admin: users with permissions, and a kept status document."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from accounts.models import User
from django.contrib.auth.models import Permission
from project.celery import app as project_app
from redis import Redis

from igny8_backup.conf import get_config
from igny8_backup.formats.documents.status import Status
from igny8_backup.operations.status.keep import keep_status
from igny8_backup.web.refresh import refresh
from tests.services.redis import RedisServer

PASSWORD = "a password of the tests"
Keep = Callable[[Status], None]
Configure = Callable[..., None]


def make_user(name: str, *codenames: str) -> User:
    """Create a member of the staff with these permissions of this package."""
    user = User.objects.create_user(name, f"{name}@example.org", PASSWORD, is_staff=True)
    for codename in codenames:
        user.user_permissions.add(
            Permission.objects.get(content_type__app_label="igny8_backup", codename=codename)
        )
    return user


@pytest.fixture(autouse=True)
def _fast_passwords(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def _no_reader_is_left() -> Iterator[None]:
    """Forget what the process has read of the storage in the background, before settings change."""
    yield
    refresh.join()


@pytest.fixture
def keep(settings: Any, tmp_path: Path) -> Keep:
    """A function that keeps a status document, as a backup does."""
    settings.IGNY8_BACKUP = {"STATE_DIR": tmp_path / "state", "HOST": "web-1", "ENCRYPTION": None}

    def kept(status: Status) -> None:
        assert keep_status(get_config(), status) == []

    return kept


@pytest.fixture
def configure() -> Iterator[Configure]:
    """A function that changes settings of the project's Celery app."""
    conf: Any = project_app.conf
    before: dict[str, Any] = {}

    def change(**changed: Any) -> None:
        before.update({name: conf[name] for name in changed if name not in before})
        conf.update(changed)

    yield change
    conf.update(before)


@pytest.fixture
def broker(redis_server: RedisServer, configure: Configure) -> RedisServer:
    """An empty broker, whose client is the project's Celery app."""
    redis_server.command("FLUSHALL")
    configure(broker_url=redis_server.url)
    return redis_server


def queued(broker: RedisServer) -> list[tuple[str, dict[str, Any]]]:
    """The names and the arguments of the tasks in the queue, oldest first."""
    with Redis.from_url(broker.url) as connection:
        found: Any = connection.lrange("celery", 0, -1)
    messages = [json.loads(text) for text in reversed(found)]
    return [(one["headers"]["task"], json.loads(base64.b64decode(one["body"]))[1]) for one in messages]
