"""What a restore is asked for: which parts of which backup, and what their details say."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from igny8_backup.errors import IntegrityError, RefusedError, UsageError
from igny8_backup.formats import records
from igny8_backup.formats.details import Details
from igny8_backup.formats.manifest import COMPLETE, SCHEMA, Manifest
from igny8_backup.humanize import size_in_words
from igny8_backup.operations.context import BackupContext
from igny8_backup.streams import Blocks
from igny8_backup.streams.age import Identity

ALL, DB, FILES = "all", "db", "files"

DETAILS_LIMIT = 64 << 20
"""Bytes: a database of 100,000 tables has a tenth of that."""


def require_none(blockers: Sequence[str]) -> None:
    """Raises :class:`RefusedError` listing the ``blockers``, if there are any."""
    if blockers:
        listed = "\n".join(f"  - {text}" for text in blockers)
        raise RefusedError(
            f"This backup cannot be restored here:\n{listed}\n",
            unchanged="Nothing was changed.",
            hint="Mend what is listed, then run again.",
        )


def read_details(context: BackupContext, manifest: Manifest, identities: list[Identity]) -> Details:
    """The details of a backup, decrypted. Raises ``IntegrityError``."""
    name = f"The details of backup {manifest.id}"
    data = join_details(context.download(manifest.details, identities), name=name)
    return records.from_json(Details, data, name=name, schema=SCHEMA)


def join_details(blocks: Blocks, *, name: str) -> bytes:
    """The ``blocks`` of details in one piece. A few bytes in storage may become any number of them, and who
    may write there could have made them: raises ``IntegrityError`` beyond ``DETAILS_LIMIT``."""
    data = bytearray()
    with closing(blocks):
        for block in blocks:
            data += block
            if len(data) > DETAILS_LIMIT:
                raise IntegrityError(
                    f"{name} are larger than any: more than {size_in_words(DETAILS_LIMIT)}.",
                    unchanged="Nothing was changed.",
                    hint="Choose another backup: list_backups.",
                )
    return bytes(data)


def left_out(context: BackupContext, only: str, wanted: Manifest | None) -> list[str]:
    """A note for each part that the settings have and the backup asked for has not, or not complete."""
    if wanted is None or only not in (ALL, DB, FILES):
        return []
    complete = {part.alias for part in wanted.databases if part.state == COMPLETE}
    complete |= {part.name for part in wanted.trees if part.state == COMPLETE}
    databases = context.config.databases if only != FILES else ()
    trees = tuple(context.config.sites) if only != DB else ()
    return [
        f"Backup {wanted.id} has no complete copy of {name!r}: it stays as it is."
        for name in (*databases, *trees)
        if name not in complete
    ]


def wanted_parts(
    context: BackupContext, only: str, wanted: Manifest | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The aliases and trees that ``only`` stands for, restricted to complete parts where an id is given."""
    config = context.config
    aliases, sites = config.databases, tuple(config.sites)
    if wanted is not None:
        complete = {part.alias for part in wanted.databases if part.state == COMPLETE}
        aliases = tuple(alias for alias in aliases if alias in complete)
        complete = {part.name for part in wanted.trees if part.state == COMPLETE}
        sites = tuple(name for name in sites if name in complete)
    if only == ALL:
        return aliases, sites
    if only == DB:
        return aliases, ()
    if only == FILES:
        return (), sites
    if only in config.databases:
        return (only,), ()
    if only in config.sites or only in config.logs:
        return (), (only,)
    names = (*config.databases, *config.sites, *config.logs)
    raise UsageError(
        f"There is no database or tree {only!r}.",
        unchanged="Nothing was changed.",
        hint=f"Give --only db, files, or one of: {', '.join(names)}.",
    )
