"""Write the dump of a database to a file, as ``pg_dump`` wrote it: :func:`extract_archive`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from igny8_backup.common.filesystem import sync
from igny8_backup.common.humanize import listed
from igny8_backup.errors import FilesError, UsageError, adding_context
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.select_copies import read_given, select_copies
from igny8_backup.operations.read.dump import open_archives
from igny8_backup.operations.restore.planning.preflight import check_objects
from igny8_backup.operations.selection import ALL, DB, BaseRequest, select_parts
from igny8_backup.streams.pipeline import write_file


@dataclass(frozen=True, kw_only=True)
class ArchiveRequest(BaseRequest):
    """A request to write the dump of one database to the new file ``archive``."""

    archive: Path


@dataclass(frozen=True, kw_only=True)
class ArchiveResult:
    """The file with the dump of a database, its size in bytes, and the backup that it comes from."""

    backup_id: str
    alias: str
    archive: str
    bytes: int
    notes: tuple[str, ...] = ()


@adding_context("No file was written.")
def extract_archive(context: BackupContext, request: ArchiveRequest) -> ArchiveResult:
    """Write the dump of one database to a private file, which ``pg_restore`` can read.

    If the dump has data archives, they are written beside this file: ``FILE.data-01`` and so on. Raises
    ``UsageError`` if the request does not choose exactly one database, or if the file exists; ``FilesError``
    if the file cannot be written; the errors of ``open_dump``. After an error, no unfinished file is left.
    """
    given = read_given(context, request.backup_id, from_host=request.from_host)
    aliases, _ = select_parts(context.config, DB if request.only == ALL else request.only, given)
    if len(aliases) != 1:
        chosen = f"{', '.join(aliases)} are chosen" if aliases else f"--only {request.only} chooses none"
        raise UsageError(f"--archive takes exactly one database, but {chosen}.", hint="Give --only ALIAS.")
    selected = select_copies(context, given, databases=aliases, trees=(), from_host=request.from_host)
    ((manifest, part),) = selected.databases
    context.require_genuine(manifest)
    identities = context.identities(request.identity_file, needed=manifest.encrypted)
    notes = check_objects(context, [*part.archives, *part.stored_packs])
    streams = open_archives(context, part, identities)
    files = [
        request.archive.with_name(request.archive.name + (f".data-{number:02}" if number else ""))
        for number in range(len(streams))
    ]
    with context.observe(f"database {part.alias}") as observer, ExitStack() as undo:
        observer.begin(part.bytes)
        for blocks, path in zip(streams, files, strict=True):
            with _new_file(path, undo) as descriptor:
                watched = observer.monitor(blocks, source="the storage", sink="the file")
                write_file(watched, descriptor, name=f"the dump to {path}")
                sync(descriptor)
        undo.pop_all()
    if files[1:]:
        notes += [
            f"The rows of some tables are in {listed([path.name for path in files[1:]])}. To restore all of"
            ' them, see "Recover a dump in several archives by hand" in the documentation.',
        ]
    return ArchiveResult(
        backup_id=manifest.id,
        alias=part.alias,
        archive=str(request.archive),
        bytes=part.bytes,
        notes=(*selected.notes, *notes),
    )


@contextmanager
def _new_file(path: Path, undo: ExitStack) -> Iterator[int]:
    """Create a private file, and yield its descriptor. ``undo`` removes the file if anything fails later."""
    descriptor = _create(path)
    undo.callback(path.unlink, missing_ok=True)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _create(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise UsageError(f"{path} already exists.", hint="Give the name of a new file.") from None
    except OSError as error:
        what = f"The file {path} cannot be created: {error.strerror}."
        raise FilesError(what, hint="Give a path in a folder that this user can write to.") from None
