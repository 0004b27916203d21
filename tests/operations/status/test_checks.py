"""The checks of the page in the admin."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.conf import get_config
from igny8_backup.operations.status.checks import find_problems
from igny8_backup.operations.status.keep import keep_status, read_status
from tests.services.redis import RedisServer
from tests.web.statuses import healthy

REDIS = "django.core.cache.backends.redis.RedisCache"
LOCAL = "django.core.cache.backends.locmem.LocMemCache"
AS_ANOTHER_USER = """
import sys
sys.path[:0] = sys.argv[2:]
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=[*map("django.contrib.{}".format, ("admin", "auth", "contenttypes")), "igny8_backup"],
    CACHES={"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS}},
    IGNY8_BACKUP={"STATE_DIR": sys.argv[1], **CHANGES},
)
django.setup()
from igny8_backup.conf import get_config
from igny8_backup.operations.status.checks import find_problems
from igny8_backup.operations.status.keep import read_status
import os
if CHANGES:
    from django.core.cache import caches
    caches["default"].get("imports the client, which the other user may not read")
os.setuid(65534)
print(*(item.id for item in find_problems(get_config())))
found = read_status(get_config())
print(found.problem or found.status.host)
"""


@pytest.mark.parametrize(("backend", "expected"), [(LOCAL, ["igny8_backup.W060"]), (REDIS, [])])
def test_page_needs_a_cache_that_processes_share(settings: Any, backend: str, expected: list[str]) -> None:
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": "redis://127.0.0.1:1/0"}}
    settings.IGNY8_BACKUP = {"STATUS_CACHE": "default"}
    assert [item.id for item in find_problems(get_config())] == expected


def test_project_without_the_admin_is_not_warned(settings: Any) -> None:
    settings.INSTALLED_APPS = [name for name in settings.INSTALLED_APPS if name != "django.contrib.admin"]
    settings.CACHES = {"default": {"BACKEND": LOCAL}}
    settings.IGNY8_BACKUP = {"STATUS_CACHE": "default"}
    assert find_problems(get_config()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root may run a process as another user")
@pytest.mark.slow
def test_web_process_of_another_user_is_told_what_to_set(settings: Any, tmp_path: Path) -> None:
    state = tmp_path / "state"
    settings.IGNY8_BACKUP = {"STATE_DIR": state}
    assert keep_status(get_config(), healthy()) == []
    assert read_status(get_config()).status == healthy()
    assert find_problems(get_config()) == []
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"REDIS, CHANGES = 'redis://127.0.0.1:1', {{}}{AS_ANOTHER_USER}",
            str(state),
            *sys.path,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "igny8_backup.W061",
        f"The file {state}/status.json.z cannot be read: Permission denied."
        " Set IGNY8_BACKUP['STATUS_CACHE'] to a cache that all processes share.",
    ]


@pytest.mark.skipif(os.getuid() != 0, reason="only root may run a process as another user")
@pytest.mark.slow
def test_web_process_of_another_user_reads_the_shared_cache(
    settings: Any, tmp_path: Path, redis_server: RedisServer
) -> None:
    state, changes = tmp_path / "state", {"STATUS_CACHE": "default"}
    settings.CACHES = {"default": {"BACKEND": REDIS, "LOCATION": redis_server.url}}
    settings.IGNY8_BACKUP = {"STATE_DIR": state, **changes}
    assert keep_status(get_config(), healthy()) == []
    # The two users have other defaults of HOME, and the same ENVIRONMENT and PREFIX.
    source = f"REDIS, CHANGES = {redis_server.url!r}, {changes!r}{AS_ANOTHER_USER}"
    done = subprocess.run(
        [sys.executable, "-c", source, str(state), *sys.path], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["", "web-1"]
