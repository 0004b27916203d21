"""Build a ``Config`` from the settings: every key with its default."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings

from igny8_backup.conf.model import SETTING, Config, Problem
from igny8_backup.conf.parser import Reader
from igny8_backup.conf.paths import home_dir
from igny8_backup.conf.sections.databases import take_databases, take_excluded, take_probes, take_sanitizers
from igny8_backup.conf.sections.encryption import take_encryption
from igny8_backup.conf.sections.hooks import take_commands
from igny8_backup.conf.sections.trees import check_trees, take_patterns, take_trees
from igny8_backup.conf.sections.upkeep import take_limits, take_max_age, take_retention
from igny8_backup.formats import keys


def read(value: Any) -> tuple[Config | None, tuple[Problem, ...]]:
    """Return the ``Config`` for the value of ``IGNY8_BACKUP``, ``None`` if there are problems, and the
    problems."""
    reader = Reader(value)
    prefix: str = reader.take("PREFIX", str, "igny8/")
    host: str = reader.take("HOST", str, socket.gethostname())
    if not keys.is_host(host):
        reader.wrong(
            "E010",
            f"The host name {host!r} cannot be part of an object's name.",
            f"Set {SETTING}['HOST'] to letters, digits, -, _ and dots.",
        )
    parts = prefix.removesuffix("/").split("/") if prefix else []
    if "\\" in prefix or not prefix.isprintable() or {"", ".", ".."} & set(parts):
        reader.wrong(
            "E011", f"{SETTING}['PREFIX'] is {prefix!r}.", 'Give a relative path, for example "igny8/".'
        )
    databases = take_databases(reader)
    config = Config(
        prefix="".join(f"{part}/" for part in parts),
        host=host,
        environment=reader.take("ENVIRONMENT", str, "development" if settings.DEBUG else "production"),
        databases=databases,
        sites=take_trees(reader, "SITES"),
        logs=take_trees(reader, "LOGS"),
        encryption=take_encryption(reader),
        compression_level=reader.take_int("COMPRESSION_LEVEL", 3, 1, 19),
        files_compression_level=reader.take_int("FILES_COMPRESSION_LEVEL", 2, 1, 19),
        jobs=reader.take_int("JOBS", 2, 1, 64),
        scratch_dir=reader.take_path("SCRATCH_DIR", None) or Path(tempfile.gettempdir()),
        state_dir=reader.take_path("STATE_DIR", None) or home_dir() / "state",
        exclude_table_data=take_excluded(reader),
        exclude=take_patterns(reader),
        exclude_caches=reader.take("EXCLUDE_CACHES", bool, True),
        sanitizers=take_sanitizers(reader),
        probes=take_probes(reader, databases),
        swap_whole=tuple(map(str, reader.take("SWAP_WHOLE", (list, tuple), ()))),
        client_bin_dir=reader.take_path("CLIENT_BIN_DIR", None),
        assume_space=reader.take_size("ASSUME_SPACE"),
        retention=take_retention(reader),
        max_age=take_max_age(reader),
        limits=take_limits(reader),
        stall_seconds=reader.take_int("STALL_SECONDS", 60, 1, 86_400),
        before_restore=take_commands(reader, "BEFORE_RESTORE"),
        after_restore=take_commands(reader, "AFTER_RESTORE"),
        debug=settings.DEBUG,
    )
    check_trees(reader, config.sites, config.logs, config.swap_whole, config.exclude)
    for key in reader.value:
        reader.wrong(
            "E002",
            f"{SETTING} has the unknown key {key!r}.",
            'Remove the key or correct its spelling: see "Settings" in the documentation.',
        )
    return (None if reader.problems else config), tuple(reader.problems)
