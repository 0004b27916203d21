"""Keep the status document in the cache ``STATUS_CACHE`` and in ``STATE_DIR``, and read it from there.

Only the cache is shared: ``STATE_DIR`` is private to the user that makes backups, and in another container
it does not exist. Neither of them is the storage, so reading the document never waits for the storage.
"""

from __future__ import annotations

import functools
import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from django.core.cache import BaseCache, caches
from django.db import connections

from igny8_backup.common.deadline import within
from igny8_backup.common.filesystem import replace_file
from igny8_backup.common.outside import is_from_outside
from igny8_backup.conf import SETTING, Config
from igny8_backup.errors import IntegrityError
from igny8_backup.formats import records
from igny8_backup.formats.documents.status import SCHEMA, Activity, Status

T = TypeVar("T")

ANSWER_SECONDS = 5.0
"""How long a cache may take to answer."""
_MOST_BYTES = 200_000_000
_HINT = "Write it again: python manage.py monitor_backups."


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The status document, and where it was read.

    ``source`` describes the cache or the file. ``problem`` says why ``status`` is ``None``; else it is empty.
    """

    status: Status | None
    source: str = ""
    problem: str = ""


def keep_status(config: Config, status: Status) -> list[str]:
    """Write the status document to ``STATE_DIR`` and to the cache, if one is set; return what went wrong."""
    return _keep(config, status_file(config), cache_key(config), status)


def keep_activity(config: Config, activity: Activity) -> list[str]:
    """Write the activity document to ``STATE_DIR`` and to the cache, if any; return what went wrong."""
    return _keep(config, activity_file(config), cache_key(config, "activity"), activity)


def _keep(config: Config, file: Path, key: str, document: Status | Activity) -> list[str]:
    data, problems = zlib.compress(records.to_json(document)), []
    try:
        replace_file(file, data)
    except OSError as error:
        problems.append(f"{file} cannot be written: {error.strerror}.")
    if config.status_cache:
        try:
            _ask(config.status_cache, lambda cache: cache.set(key, data, timeout=None))
        except Exception as error:  # each cache backend has errors of its own
            if is_from_outside(error):
                raise
            problems.append(f"The cache {config.status_cache!r} cannot be written: {type(error).__name__}.")
    return problems


def read_status(config: Config) -> Kept:
    """Read the document from the cache, or from ``STATE_DIR`` if ``STATUS_CACHE`` is not set."""
    if config.status_cache:
        data, kept = _from_cache(config, cache_key(config))
        return kept if data is None else _parse(data, kept.source)
    file = status_file(config)
    source = f"the file {file}"
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        problem = f"There is no file {file}. The first backup or monitor_backups writes it."
        return Kept(status=None, source=source, problem=problem)
    except OSError as error:
        problem = f"The file {file} cannot be read: {error.strerror}. {_cache_hint()}"
        return Kept(status=None, source=source, problem=problem)
    return _parse(data, source)


def read_activity(config: Config) -> Activity:
    """Read the activity document (work that runs). The result is empty if the document cannot be read."""
    nothing = Activity(schema=SCHEMA)
    if config.status_cache:
        data, _ = _from_cache(config, cache_key(config, "activity"))
    else:
        try:
            data = activity_file(config).read_bytes()
        except OSError:
            data = None
    if data is None:
        return nothing
    try:
        return records.from_json(
            Activity, _unpacked(data), name="The activity document", schema=SCHEMA, hint=_HINT
        )
    except IntegrityError:
        return nothing


def status_file(config: Config) -> Path:
    """Return the path of the file in ``STATE_DIR`` that holds the status document."""
    return config.state_dir / "status.json.z"


def activity_file(config: Config) -> Path:
    """Return the path of the file in ``STATE_DIR`` that holds the activity document."""
    return config.state_dir / "activity.json.z"


def cache_key(config: Config, document: str = "status") -> str:
    """Return the key of the ``document`` in the cache: ``status`` or ``activity``.

    Each environment and prefix has a key of its own, because several of them can share one cache.
    """
    place = hashlib.sha256(f"{config.environment}\0{config.prefix}".encode()).hexdigest()
    return f"igny8_backup.{document}.{place[:16]}"


def _ask(alias: str, question: Callable[[BaseCache], T]) -> T:
    """Return the answer of the cache ``alias``; raises ``TimeoutError`` after :data:`ANSWER_SECONDS`.

    Most caches wait for their server without a limit. A backup must not wait so long only to show its
    progress.
    """

    def ask() -> T:
        try:
            return question(caches[alias])  # each thread has a connection of its own
        finally:
            connections.close_all()  # the cache can be a table of a database

    return within(ANSWER_SECONDS, ask, name="igny8_backup-cache")


def _from_cache(config: Config, key: str) -> tuple[bytes | None, Kept]:
    """Return the bytes under ``key``; if there are none, ``None`` and the reason."""
    source = f"the cache {config.status_cache!r}"
    try:
        data = _ask(config.status_cache, lambda cache: cache.get(key))
    except Exception as error:  # each cache backend has errors of its own
        if is_from_outside(error):
            raise
        problem = f"The cache {config.status_cache!r} cannot be read: {type(error).__name__}."
        return None, Kept(status=None, source=source, problem=problem)
    if isinstance(data, bytes):
        return data, Kept(status=None, source=source)
    problem = (
        f"There is nothing in {source} yet. The first backup or monitor_backups writes it, if it runs"
        f" with the same {SETTING}['STATUS_CACHE'], ENVIRONMENT and PREFIX."
    )
    return None, Kept(status=None, source=source, problem=problem)


def _parse(data: bytes, source: str) -> Kept:
    try:
        return Kept(status=_decode(data), source=source)
    except IntegrityError as error:
        return Kept(status=None, source=source, problem=str(error))


@functools.lru_cache(maxsize=2)
def _decode(data: bytes) -> Status:
    """Parse a document. The result is cached: parsing takes a second if there are thousands of backups."""
    return records.from_json(Status, _unpacked(data), name="The status document", schema=SCHEMA, hint=_HINT)


def _unpacked(data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        document = unpacker.decompress(data, _MOST_BYTES)
        complete = unpacker.eof
    except zlib.error:
        complete = False
    if not complete:
        raise IntegrityError("The status document is damaged.", unchanged="Nothing was changed.", hint=_HINT)
    return document


def _cache_hint() -> str:
    return f"Set {SETTING}['STATUS_CACHE'] to a cache that all processes share."
