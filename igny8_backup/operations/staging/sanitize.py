"""Production data for a developer: the project's sanitizers, run in the side databases before any swap."""

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
from igny8_backup.operations.staging import sandbox

PRODUCTION = {"production", "prod", "prd", "live"}
"""Words that tell, anywhere in the name of an environment, that it has the data of people."""

FILES_NOTE = "Sanitizers change databases; files come back as they are."


def blockers(
    config: Config, chosen: Sequence[Manifest], aliases: Sequence[str], *, sanitize: bool, keep: bool
) -> list[str]:
    """Why data of people must not come, or cannot be sanitized: one sentence each. ``keep`` says that it may
    come as it is."""
    if sanitize:
        return [text for alias in aliases for text in _not_sanitizable(config, alias)]
    found = sorted({item.id for item in chosen if is_production(item.environment)})
    if not (config.debug and found) or keep:
        return []
    return [
        f"{', '.join(found)} holds data of production, and DEBUG is on here. Give --sanitize: it runs"
        f" {SETTING}['SANITIZERS'] before anybody can connect. To have the data of people as they are, give"
        " --keep-personal-data."
    ]


def is_production(environment: str) -> bool:
    """Whether the name has such a word: ``Production``, ``prod-eu``, ``igny8_live2``."""
    return not PRODUCTION.isdisjoint(re.findall(r"[a-z]+", environment.casefold()))


def _not_sanitizable(config: Config, alias: str) -> list[str]:
    if alias not in config.sanitizers:
        return [
            f"{SETTING}['SANITIZERS'] has nothing for {alias!r}: name what sanitizes it, or give it an empty"
            " list if it holds no personal data."
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
            usable = callable(import_string(item))
        except ImportError as error:
            found.append(f"The sanitizer {item} cannot be imported: {error}.")
        else:
            found += [] if usable else [f"The sanitizer {item} is no callable."]
    return found


def sanitize(context: BackupContext, sides: Mapping[str, str]) -> None:
    """Runs the sanitizers of each alias in its side database, and leaves no old byte in it.

    Raises :class:`~igny8_backup.errors.BackupError` without a word of the data.
    """
    listed = {
        alias: context.config.sanitizers[alias] for alias in sides if has_sanitizers(context.config, alias)
    }
    if not listed:
        return
    context.progress.note("Sanitizing the restored data.")
    engines = {alias: context.engine(alias) for alias in listed}
    with ExitStack() as stack:
        for alias, engine in engines.items():
            stack.enter_context(engine.triggers_disabled(sides[alias]))
        sandbox.sanitize(sides, listed)
    context.progress.note("Writing it anew, so that nothing of what was sanitized is left in its files.")
    for alias, engine in engines.items():
        engine.rewrite(sides[alias])


def has_sanitizers(config: Config, alias: str) -> bool:
    """Whether anything is to be done: an empty list says that there are no personal data."""
    return bool(config.sanitizers.get(alias))
