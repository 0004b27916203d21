"""Deployment checks of the page in Django's admin: can the web processes read the status document?"""

from __future__ import annotations

from django.apps import apps
from django.conf import settings

from igny8_backup.conf import SETTING, Config, Problem
from igny8_backup.operations.guards.preconditions import make_problem
from igny8_backup.operations.status.keep import status_file

_OF_ONE_PROCESS = ("LocMemCache", "DummyCache")


def find_problems(config: Config) -> list[Problem]:
    """Return W060 or W061 if the web processes cannot read the status document.

    Returns an empty list if ``django.contrib.admin`` is not installed.
    """
    if not apps.is_installed("django.contrib.admin"):
        return []
    if not config.status_cache:
        return _unreadable_file(config)
    backend = str(settings.CACHES[config.status_cache].get("BACKEND", ""))
    if not backend.endswith(_OF_ONE_PROCESS):
        return []
    return [
        make_problem(
            "W060",
            f"The cache {config.status_cache!r} in STATUS_CACHE is not shared by processes ({backend}), so"
            " the page in the admin does not see what backups write.",
            "Name a cache that all processes share, such as Redis, Memcached or the database cache.",
        )
    ]


def _unreadable_file(config: Config) -> list[Problem]:
    file = status_file(config)
    try:
        file.open("rb").close()
    except PermissionError:
        what = (
            f"This user may not read {file}, so the page in the admin cannot show the state of the backups."
        )
        hint = f"Set {SETTING}['STATUS_CACHE'] to a cache that all processes share."
        return [make_problem("W061", what, hint)]
    except OSError:
        return []  # no backup was made yet, or backups are made elsewhere: the page says so itself
    return []
