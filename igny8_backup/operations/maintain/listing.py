"""What lies in the trees of a backup, file by file, as a stream: there may be millions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from igny8_backup.errors import BackupError, IdentityError, IntegrityError, UsageError
from igny8_backup.formats.manifest import COMPLETE, Manifest, TreePart
from igny8_backup.operations.backup import parent_index as tree_state
from igny8_backup.operations.context import Toolkit
from igny8_backup.operations.extract.path_filter import Chosen, parse_pattern
from igny8_backup.streams import Blocks
from igny8_backup.streams.age import Identity
from igny8_backup.streams.pipeline import from_file
from igny8_backup.trees.index import index
from igny8_backup.trees.model.records import Record


def list_files(
    kit: Toolkit, manifest: Manifest, pattern: str, identities: list[Identity]
) -> Iterator[tuple[str, Record]]:
    """The tree and the record of everything that ``pattern`` chooses (``parse_pattern``; all of it where that
    is empty), tree after tree, in the order of the index.

    A tree that this host backed up last is read from the index in ``STATE_DIR``, which needs no key; else, or
    where that is damaged, which is told, from the index in storage. What was read before an
    ``IntegrityError`` is not to be trusted. Before the first record it raises ``IdentityError`` where there
    is no way to read a tree, ``IntegrityError`` where the only way is a damaged index, ``UsageError`` where
    the backup has no tree.
    """
    parts = [part for part in manifest.trees if part.state == COMPLETE and part.index]
    if not parts:
        raise UsageError(
            f"Backup {manifest.id} holds no tree of files.",
            untouched="Nothing was read.",
            fix="Choose another: list_backups.",
        )
    local: dict[str, Path | None] = {}
    for part in parts:
        local[part.name], damaged = tree_state.local_index(kit, manifest, part)
        if local[part.name] is None and manifest.encrypted and not identities:
            raise _unreadable(part.name, damaged)
        if damaged:
            kit.progress.note(f"{damaged} The list in storage is read.")
    chosen = Chosen(patterns=(parse_pattern(pattern),) if pattern else ())
    return _records(kit, parts, local, chosen, identities)


def _unreadable(tree: str, damaged: str) -> BackupError:
    if damaged:
        return IntegrityError(
            damaged,
            untouched="Nothing was read.",
            fix="The list in storage needs the file that generate_backup_key wrote: --identity FILE. The next"
            " backup stores every file anew and keeps a list of its own.",
        )
    return IdentityError(
        f"The list of files of {tree!r} is encrypted and no identity is given.",
        untouched="Nothing was read.",
        fix="Give the file that generate_backup_key wrote: --identity FILE. Without it only the newest"
        " backup can be listed, on the server that made it.",
    )


def _records(
    kit: Toolkit,
    parts: list[TreePart],
    local: dict[str, Path | None],
    chosen: Chosen,
    identities: list[Identity],
) -> Iterator[tuple[str, Record]]:
    for part in parts:
        with closing(_blocks(kit, part, local[part.name], identities)) as blocks:
            for record in index.read(blocks):
                if record.path and chosen.matches(record.path):
                    yield part.name, record


def _blocks(kit: Toolkit, part: TreePart, local: Path | None, identities: list[Identity]) -> Blocks:
    if local is not None:
        yield from from_file(local)
    elif part.index is not None:
        yield from kit.download(part.index, identities)
