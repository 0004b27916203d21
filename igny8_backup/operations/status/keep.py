"""Keep the status document in the cache ``STATUS_CACHE`` and in ``STATE_DIR``, and read it from there.

Only the cache is shared: ``STATE_DIR`` is private to the user that makes backups, and in another container
it does not exist. Neither of them is the storage, so reading the document never waits for the storage.
"""

from __future__ import annotations

import functools
import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path

from django.core.cache import caches

from igny8_backup.conf import SETTING, Config
from igny8_backup.errors import IntegrityError
from igny8_backup.filesystem import replace_file
from igny8_backup.formats import records
from igny8_backup.formats.status import SCHEMA, Status
from igny8_backup.outside import is_from_outside

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
    """Write the document to ``STATE_DIR`` and to the cache, if one is set; return what went wrong."""
    data, problems = zlib.compress(records.to_json(status)), []
    try:
        replace_file(status_file(config), data)
    except OSError as error:
        problems.append(f"{status_file(config)} cannot be written: {error.strerror}.")
    if config.status_cache:
        try:
            caches[config.status_cache].set(cache_key(config), data, timeout=None)
        except Exception as error:  # each cache backend has errors of its own
            if is_from_outside(error):
                raise
            problems.append(f"The cache {config.status_cache!r} cannot be written: {type(error).__name__}.")
    return problems


def read_status(config: Config) -> Kept:
    """Read the document from the cache, or from ``STATE_DIR`` if ``STATUS_CACHE`` is not set."""
    if config.status_cache:
        return _from_cache(config)
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


def status_file(config: Config) -> Path:
    """Return the path of the file in ``STATE_DIR`` that holds the status document."""
    return config.state_dir / "status.json.z"


def cache_key(config: Config) -> str:
    """Return the key of the document in the cache.

    Each environment and prefix has a key of its own, because several of them can share one cache.
    """
    place = hashlib.sha256(f"{config.environment}\0{config.prefix}".encode()).hexdigest()
    return f"igny8_backup.status.{place[:16]}"


def _from_cache(config: Config) -> Kept:
    source = f"the cache {config.status_cache!r}"
    try:
        data = caches[config.status_cache].get(cache_key(config))
    except Exception as error:  # each cache backend has errors of its own
        if is_from_outside(error):
            raise
        problem = f"The cache {config.status_cache!r} cannot be read: {type(error).__name__}."
        return Kept(status=None, source=source, problem=problem)
    if not isinstance(data, bytes):
        problem = (
            f"There is nothing in {source} yet. The first backup or monitor_backups writes it, if it runs"
            f" with the same {SETTING}['STATUS_CACHE'], ENVIRONMENT and PREFIX."
        )
        return Kept(status=None, source=source, problem=problem)
    return _parse(data, source)


def _parse(data: bytes, source: str) -> Kept:
    try:
        return Kept(status=_decode(data), source=source)
    except IntegrityError as error:
        return Kept(status=None, source=source, problem=str(error))


@functools.lru_cache(maxsize=2)
def _decode(data: bytes) -> Status:
    """Parse a document. The result is cached: parsing takes a second if there are thousands of backups."""
    unpacker = zlib.decompressobj()
    try:
        document = unpacker.decompress(data, _MOST_BYTES)
        complete = unpacker.eof
    except zlib.error:
        complete = False
    if not complete:
        raise IntegrityError("The status document is damaged.", unchanged="Nothing was changed.", hint=_HINT)
    return records.from_json(Status, document, name="The status document", schema=SCHEMA, hint=_HINT)


def _cache_hint() -> str:
    return f"Set {SETTING}['STATUS_CACHE'] to a cache that all processes share."
