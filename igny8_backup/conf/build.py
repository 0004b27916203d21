"""Build the ``Config`` from the setting ``IGNY8_BACKUP``, with the defaults of all keys."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings

from igny8_backup.conf.model import SETTING, Config, Problem
from igny8_backup.conf.parser import Reader
from igny8_backup.conf.paths import home_dir
from igny8_backup.conf.sections.copies import read_copies
from igny8_backup.conf.sections.databases import (
    read_chunked,
    read_databases,
    read_excluded,
    read_full_every,
    read_probes,
    read_sanitizers,
)
from igny8_backup.conf.sections.drill import read_drill, read_restore_user
from igny8_backup.conf.sections.encryption import read_encryption
from igny8_backup.conf.sections.hooks import read_commands, read_workers
from igny8_backup.conf.sections.hosts import check_fleet, fleet_of, narrowed, read_hosts
from igny8_backup.conf.sections.notify import read_notify, read_summary
from igny8_backup.conf.sections.object_lock import read_object_lock
from igny8_backup.conf.sections.queue import read_queue
from igny8_backup.conf.sections.sandbox import read_sandbox
from igny8_backup.conf.sections.schedule import read_backup_every
from igny8_backup.conf.sections.signing import read_signing_key, read_trusted
from igny8_backup.conf.sections.trees import check_trees, read_cache_trees, read_patterns, read_trees
from igny8_backup.conf.sections.upkeep import (
    read_limits,
    read_max_age,
    read_retention,
    read_shrink,
    read_status_cache,
    read_upload_rate,
)
from igny8_backup.formats import keys
from igny8_backup.signing.trust import Place, Trust
from igny8_backup.streams.side_by_side import MOST_STREAMS


def read(value: Any) -> tuple[Config | None, tuple[Problem, ...]]:
    """Read ``value``, the setting ``IGNY8_BACKUP``; return the ``Config`` and the problems.

    If there are problems, the ``Config`` is ``None``.
    """
    reader = Reader(value)
    prefix: str = reader.take("PREFIX", str, "igny8/")
    host: str = reader.take("HOST", str, socket.gethostname())
    if not keys.is_host(host):
        reader.wrong(
            "E010",
            f"The host name {host!r} cannot be part of the name of an object in storage.",
            f"Set {SETTING}['HOST'] to letters, digits, -, _ and dots.",
        )
    parts = prefix.removesuffix("/").split("/") if prefix else []
    if "\\" in prefix or not prefix.isprintable() or {"", ".", ".."} & set(parts):
        reader.wrong(
            "E011",
            f"{SETTING}['PREFIX'] is {prefix!r}, not a relative path.",
            'Give a relative path, for example "igny8/".',
        )
    databases = read_databases(reader)
    sites, logs = read_trees(reader, "SITES"), read_trees(reader, "LOGS")
    hosts, retention = read_hosts(reader), read_retention(reader)
    place = Place(
        environment=reader.take("ENVIRONMENT", str, "development" if settings.DEBUG else "production"),
        prefix="".join(f"{part}/" for part in parts),
        host=host,
        hosts=None if hosts is None else tuple(hosts),
    )
    config = Config(
        prefix=place.prefix,
        host=host,
        hosts=hosts,
        fleet=fleet_of(hosts),
        environment=place.environment,
        databases=databases,
        sites=sites,
        logs=logs,
        encryption=read_encryption(reader),
        signing_key=read_signing_key(reader),
        trust=Trust(read_trusted(reader), place),
        object_lock=read_object_lock(reader),
        copies=read_copies(reader, retention),
        compression_level=reader.take_int("COMPRESSION_LEVEL", 3, 1, 19),
        files_compression_level=reader.take_int("FILES_COMPRESSION_LEVEL", 2, 1, 19),
        jobs=reader.take_optional_int("JOBS", 1, 64),
        dump_jobs=reader.take_optional_int("DUMP_JOBS", 1, MOST_STREAMS),
        scratch_dir=reader.take_path("SCRATCH_DIR", None) or _temporary_folder(reader),
        state_dir=reader.take_path("STATE_DIR", None) or home_dir() / "state",
        exclude_table_data=read_excluded(reader),
        chunked_dumps=read_chunked(reader, databases),
        chunked_trees=tuple(map(str, reader.take("CHUNKED_TREES", (list, tuple), ()))),
        full_every=read_full_every(reader),
        exclude=read_patterns(reader),
        exclude_caches=read_cache_trees(reader, (*sites, *logs)),
        sanitizers=read_sanitizers(reader),
        probes=read_probes(reader, databases),
        sandbox=read_sandbox(reader),
        drill_server=read_drill(reader),
        restore_user=read_restore_user(reader),
        swap_whole=tuple(map(str, reader.take("SWAP_WHOLE", (list, tuple), ()))),
        client_bin_dir=reader.take_path("CLIENT_BIN_DIR", None),
        assume_space=reader.take_size("ASSUME_SPACE"),
        retention=retention,
        max_age=read_max_age(reader),
        shrink=read_shrink(reader),
        limits=read_limits(reader),
        stall_seconds=reader.take_int("STALL_SECONDS", 60, 1, 86_400),
        retry_seconds=reader.take_int("RETRY_SECONDS", 900, 0, 86_400),
        max_upload_rate=read_upload_rate(reader),
        yield_after=reader.take_int("YIELD_AFTER", 0, 0, 86_400),
        backup_every=read_backup_every(reader, databases, sites, logs),
        status_cache=read_status_cache(reader),
        queue=read_queue(reader),
        workers=read_workers(reader),
        before_backup=read_commands(reader, "BEFORE_BACKUP"),
        after_backup=read_commands(reader, "AFTER_BACKUP"),
        before_restore=read_commands(reader, "BEFORE_RESTORE"),
        after_restore=read_commands(reader, "AFTER_RESTORE"),
        notify=read_notify(reader),
        notify_summary=read_summary(reader),
        debug=settings.DEBUG,
    )
    check_trees(reader, config)
    check_fleet(reader, config)
    for key in reader.value:
        reader.wrong(
            "E002",
            f"{SETTING} has the unknown key {key!r}.",
            'Remove the key or correct its spelling: see "Settings" in the documentation.',
        )
    return (None if reader.problems else narrowed(config)), tuple(reader.problems)


def _temporary_folder(reader: Reader) -> Path:
    try:
        return Path(tempfile.gettempdir())
    except OSError:
        reader.wrong(
            "E027",
            f"{SETTING} has no SCRATCH_DIR, and the system has no temporary folder that is writable.",
            f"Set {SETTING}['SCRATCH_DIR'] to a private folder, or make /tmp writable.",
        )
        return Path("/tmp")  # noqa: S108 - never used: the settings are wrong
