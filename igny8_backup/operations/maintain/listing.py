"""List the files of a backup as a stream, because there can be millions of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from igny8_backup.errors import BackupError, IdentityError, IntegrityError, UsageError
from igny8_backup.formats.manifest import COMPLETE, Manifest
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.operations.backup.trees import local_index
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.extract.path_filter import Chosen, parse_pattern
from igny8_backup.streams.age import Identity
from igny8_backup.streams.pipeline import from_file
from igny8_backup.trees.index import index
from igny8_backup.trees.model.records import Record


def list_files(
    context: BackupContext, manifest: Manifest, pattern: str, identities: list[Identity]
) -> Iterator[tuple[str, Record]]:
    """List the files, folders and links that match ``pattern`` (see ``parse_pattern``); all if it is empty.

    Yields pairs of the name of a tree and a record, tree by tree, in the order of the index. Reads the local
    index in ``STATE_DIR``, which needs no identity. If the local index is missing or damaged, reads the index
    in storage, which needs an identity if it is encrypted.

    Raises ``UsageError`` for a backup without trees, and for a pattern that nothing matches. If a needed
    identity is not given, raises ``IntegrityError`` for a damaged local index, and ``IdentityError`` for a
    missing one. If ``IntegrityError`` is raised after the first record, the records yielded so far cannot be
    trusted.
    """
    parts = [part for part in manifest.trees if part.state == COMPLETE and part.index]
    if not parts:
        what = f"Backup {manifest.id} contains no tree of files."
        hint = "Choose another backup: list_backups."
        raise UsageError(what, unchanged="Nothing was read.", hint=hint)
    sources: list[tuple[TreePart, Path | None]] = []
    for part in parts:
        local, damaged = local_index.find_local_index(context, manifest, part)
        if local is None and manifest.encrypted and not identities:
            raise _unreadable(part.name, damaged)
        if damaged:
            context.progress.note(f"{damaged} The index in storage is read instead.")
        sources.append((part, local))
    chosen = Chosen(patterns=(parse_pattern(pattern),) if pattern else ())
    found = _records(context, sources, chosen, identities)
    return _not_empty(found, manifest, pattern) if pattern else found


def _not_empty(
    found: Iterator[tuple[str, Record]], manifest: Manifest, pattern: str
) -> Iterator[tuple[str, Record]]:
    """Yield what was ``found``. Raises ``UsageError`` if that is nothing."""
    first = next(found, None)
    if first is None:
        raise UsageError(
            f"No path in the trees of backup {manifest.id} matches {pattern!r}.",
            unchanged="Nothing was changed.",
            hint="Give a path relative to the root of a tree: example.com, or '*/images/*.png'.",
        )
    yield first
    yield from found


def _unreadable(tree: str, damaged: str) -> BackupError:
    if damaged:
        return IntegrityError(
            damaged,
            unchanged="Nothing was read.",
            hint="To read the index in storage, give the file that generate_backup_key wrote:"
            " --identity FILE. The next backup stores every file again and writes a new local index.",
        )
    return IdentityError(
        f"The index of {tree!r} is encrypted and no identity is given.",
        unchanged="Nothing was read.",
        hint="Give the file that generate_backup_key wrote: --identity FILE. Without it only the newest"
        " backup can be listed, on the server that made it.",
    )


def _records(
    context: BackupContext,
    sources: list[tuple[TreePart, Path | None]],
    chosen: Chosen,
    identities: list[Identity],
) -> Iterator[tuple[str, Record]]:
    for part, local in sources:
        with closing(
            from_file(local) if local else context.download(part.stored_index, identities)
        ) as blocks:
            for record in index.read(blocks):
                if record.path and chosen.matches(record.path):
                    yield part.name, record
