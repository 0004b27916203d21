"""Run the project's sanitizers in staging databases, before anybody can connect to them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from django.utils.module_loading import import_string

from igny8_backup.conf import SETTING, Config
from igny8_backup.databases.capabilities import Capability
from igny8_backup.databases.registry import make_engine
from igny8_backup.formats.manifest import Manifest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.staging.load import note_unanalyzed
from igny8_backup.operations.staging.project_code import sandbox

PRODUCTION = {"production", "prod", "prd", "live"}
"""If the name of an environment contains one of these words, its backups contain personal data."""

FILES_NOTE = "Sanitizers change databases only. Files are restored unchanged."


def blockers(
    config: Config, chosen: Sequence[Manifest], aliases: Sequence[str], *, sanitize: bool, keep: bool
) -> list[str]:
    """Return reasons why personal data must not be restored here, or cannot be sanitized.

    ``chosen`` are the backups to restore, ``aliases`` their databases. ``sanitize``: the sanitizers will run.
    ``keep``: the user allows that personal data is restored unchanged.
    """
    if sanitize:
        return [text for alias in aliases for text in _not_sanitizable(config, alias)]
    found = sorted({item.id for item in chosen if is_production(item.environment)})
    if not (config.debug and found) or keep:
        return []
    return [
        f"Backup {', '.join(found)} contains production data, and DEBUG is on here. Give --sanitize to run"
        f" {SETTING}['SANITIZERS'] before anybody can connect, or --keep-personal-data to restore personal"
        " data unchanged."
    ]


def is_production(environment: str) -> bool:
    """Return whether the name of an environment contains a word of ``PRODUCTION``.

    Examples: ``Prod``, ``prod-eu``, ``igny8_live2``.
    """
    return not PRODUCTION.isdisjoint(re.findall(r"[a-z]+", environment.casefold()))


def _not_sanitizable(config: Config, alias: str) -> list[str]:
    if alias not in config.sanitizers:
        return [
            f"{SETTING}['SANITIZERS'] has no entry for {alias!r}. Add its sanitizers, or an empty list if it"
            " contains no personal data."
        ]
    found = []
    if config.sanitizers[alias] and not make_engine(alias, config).supports(Capability.SANITIZE):
        found.append(f"The database {alias!r} cannot be sanitized: sanitizers work in PostgreSQL only.")
    for item in config.sanitizers[alias]:
        if item.endswith(".sql"):
            if not os.access(item, os.R_OK):
                found.append(f"The sanitizer {item} cannot be read.")
            continue
        try:
            if not callable(import_string(item)):
                found.append(f"The sanitizer {item} is not callable.")
        except ImportError as error:
            found.append(f"The sanitizer {item} cannot be imported: {error}.")
    return found


def sanitize(context: BackupContext, staging: Mapping[str, str]) -> None:
    """Run the sanitizers in staging databases; rewrite the tables, so that no removed data is left on disk.

    ``staging`` maps each alias to the name of its staging database. Raises
    :class:`~igny8_backup.errors.BackupError` with a message that contains no data.
    """
    listed = {
        alias: context.config.sanitizers[alias] for alias in staging if has_sanitizers(context.config, alias)
    }
    if not listed:
        return
    context.progress.note("Sanitizing the restored data.")
    engines = {alias: context.engine(alias) for alias in listed}
    with ExitStack() as stack:
        for alias, engine in engines.items():
            stack.enter_context(engine.triggers_disabled(staging[alias]))
        sandbox.sanitize(staging, listed, note=context.progress.note)
    context.progress.note("Rewriting the sanitized databases, so that their files contain no removed data.")
    for alias, engine in engines.items():
        note_unanalyzed(context, alias, engine.rewrite(staging[alias]))


def has_sanitizers(config: Config, alias: str) -> bool:
    """Return whether the settings have sanitizers for ``alias``."""
    return bool(config.sanitizers.get(alias))
