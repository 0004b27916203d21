"""Store dumps in chunks; replace the maps of chunks at the end of the run. Entry point: ``ChunkedDumps``."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace

from igny8_backup.chunks import cutter
from igny8_backup.chunks.kinds import FULL_TRIES
from igny8_backup.chunks.runs import Index, to_blocks
from igny8_backup.databases.dump_streams import DumpStreams, Placement, archive_names
from igny8_backup.errors import StorageError
from igny8_backup.formats import keys
from igny8_backup.formats.chunked import FULL, chunk_folder, index_key
from igny8_backup.formats.manifest import COMPLETE, Manifest
from igny8_backup.formats.objects import StoredObject
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.operations.backup.chunked.attempt import Attempt
from igny8_backup.operations.backup.chunked.plan import DumpPlan, plan_dump
from igny8_backup.operations.backup.chunked.state_files import map_path
from igny8_backup.operations.backup.chunked.unplanned import FULL_DUMP, repeated_text, unplanned_fulls
from igny8_backup.operations.backup.request import WHOLE_DUMP, BackupRequest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.transfer.upload import index_codec

OpenDump = Callable[[Placement | None], AbstractContextManager[DumpStreams]]
"""Starts a dump whose tables are placed as before: see ``Engine.open_archives``."""
ATTEMPTS = 2
"""If a pack that a dump needs disappears while the dump is made, the database is dumped once more."""


class ChunkedDumps:
    """The dumps in chunks of one run. Use it as a context manager."""

    def __init__(self, context: BackupContext, backup_id: str, request: BackupRequest) -> None:
        self._context = context
        self._id = backup_id
        self._request = request
        self._stack = ExitStack()
        self._done: dict[str, Attempt] = {}
        self._attempts: Counter[str] = Counter()
        self._packs: Counter[str] = Counter()
        self._indexes: defaultdict[str, list[str]] = defaultdict(list)
        self._changed: defaultdict[str, set[str]] = defaultdict(set)

    def __enter__(self) -> ChunkedDumps:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def includes(self, part: DatabasePart) -> bool:
        """Return whether the database is to be dumped in chunks.

        If the compiled cutter is missing, returns false, and notes that the dump is stored whole instead.
        """
        chosen = part.alias in self._context.config.chunked_dumps and part.engine == "postgresql"
        if not chosen or self._request.safety or self._request.dump_kind == WHOLE_DUMP:
            return False
        if not cutter.compiled_version():
            self._context.progress.note(
                f"WARNING: {part.alias}: the dump is stored whole, because the compiled cutter is not"
                " installed. Install it: pip install --only-binary :all: pyfastcdc."
            )
            return False
        return True

    def store(
        self, part: DatabasePart, dump: OpenDump, size: int | None, damaged: Collection[str]
    ) -> DatabasePart:
        """Dump a database and store the dump; return ``part`` with its indexes and packs.

        ``dump`` starts ``pg_dump``. ``size`` is the size of the database in bytes. ``damaged`` are the keys
        of objects to which the dump must not refer. Call this once more if :meth:`changed_objects` returns
        objects. Raises the errors of ``dump``, ``StorageError`` and ``FilesError``.
        """
        alias = part.alias
        while self._attempts[alias] < ATTEMPTS:
            self._attempts[alias] += 1
            attempt = self._begin(part, size, damaged)
            with dump(attempt.plan.placement) as streams:
                indexes, packs = attempt.write(streams)
            self._packs[alias] += len(attempt.new)
            done = replace(part, state=COMPLETE, packs=packs)
            self._done[alias] = attempt
            if self.changed_objects(done):
                continue
            main, *data = self._store_indexes(alias, indexes)
            return replace(done, object=main, data=tuple(data), chunked=attempt.describe(indexes))
        raise StorageError(
            f"Packs that the dump of {alias!r} needs disappeared from storage, or were replaced, twice while"
            " it was made.",
            unchanged="The other databases and trees of this backup are not affected.",
            hint="Find out what changes objects in the storage. Then run the backup again.",
        )

    def _store_indexes(self, alias: str, indexes: Sequence[Index]) -> list[StoredObject]:
        """Store the indexes of a dump, in place of those of an earlier attempt."""
        context, stored = self._context, self._indexes[alias]
        codec, claimed = index_codec(context.codec), self._attempts[alias] == 1
        while stored:
            context.store.delete(stored.pop())
        found = []
        for archive, index in zip(archive_names(len(indexes)), indexes, strict=True):
            key = index_key(self._id, alias, context.codec.suffix, archive)
            if not claimed:
                context.store.delete(key)  # it may be left of a run that was delivered before
            found.append(context.upload(key, codec=codec, claimed=claimed).send(to_blocks(index)))
            stored.append(key)
        return found

    def changed_objects(self, part: DatabasePart) -> list[str]:
        """Return the keys of the packs and lists that ``part`` needs and that have changed in storage.

        They are missing, or were replaced since the map was written or this run read them. The next
        :meth:`store` of the database does not refer to them. The lists are those that describe the packs.
        Raises ``StorageError``.
        """
        attempt = self._done.get(part.alias)
        if part.state != COMPLETE or not part.packs or not attempt:
            return []
        store, written = self._context.store, attempt.written
        listed = {item.key: item for item in store.list(chunk_folder(self._context.config.host, part.alias))}
        changed = []
        for pack in part.packs:
            found = listed.get(pack.key)
            if (
                found is None
                or found.size != pack.stored_bytes
                or written.setdefault(pack.key, found.written) not in ("", found.written)
            ):
                changed.append(pack.key)
        lists = sorted({pack.named_in.key for pack in part.packs if pack.named_in})
        changed += [key for key in lists if not store.exists(key)]
        self._changed[part.alias].update(changed)
        if changed and self._attempts[part.alias] < ATTEMPTS:
            self._context.progress.note(
                f"WARNING: {part.alias}: {changed[0]} disappeared from storage, or was replaced, while the"
                " database was dumped. The database is dumped again, without this object."
            )
        return changed

    def save_maps(self, manifest: Manifest, suspects: Collection[str]) -> None:
        """Replace the maps of the databases that this run has dumped. Call this after storing the manifest.

        The maps of the databases ``suspects`` are not replaced, so that their next dumps refer to earlier,
        good dumps. If a map cannot be written, the old map stays, and a note says so.
        """
        for part in manifest.databases:
            attempt = self._done.get(part.alias)
            if part.state != COMPLETE or attempt is None:
                continue
            try:
                if part.alias not in suspects:
                    attempt.save_map(part)
            except OSError as error:
                self._context.progress.note(
                    f"WARNING: {part.alias}: the map of its chunks could not be written to"
                    f" {map_path(self._context, part.alias).parent}: {error.strerror}. The next"
                    " dump stores all that changed since the last map."
                )
            attempt.forget()

    def _begin(self, part: DatabasePart, size: int | None, damaged: Collection[str]) -> Attempt:
        context, alias = self._context, part.alias
        forced = self._request.dump_kind or (FULL if self._request.full else "")
        bad = {*damaged, *self._changed[alias]}
        plan = plan_dump(context, part, self._id, forced=forced, size=size, damaged=bad)
        self._note(part, plan)
        attempt = Attempt(context, alias, self._id, plan, self._packs[alias])
        return self._stack.enter_context(attempt)

    def _note(self, part: DatabasePart, plan: DumpPlan) -> None:
        """Note why the plan is a full dump although none was expected, and warn if that has happened before.

        Also warn if full dumps are due and have failed.
        """
        context, alias = self._context, part.alias
        if plan.reason:
            context.progress.note(f"{alias}: the dump is a full one, because {plan.reason}.")
        elif plan.again and plan.kind == FULL:
            context.progress.note(
                f"{alias}: the dump is a full one, because an earlier run tried to make one, and ended early."
            )
        if plan.reason and (earlier := unplanned_fulls(self._recent(part), part.started, context.config)):
            context.shortfalls.add(alias, FULL_DUMP, f"{alias}: {repeated_text(earlier[0], plan.reason)}")
        if plan.due and plan.kind != FULL:
            context.shortfalls.add(
                alias,
                FULL_DUMP,
                f"{alias}: the full dump has failed {FULL_TRIES} times, so this dump is based on the old one"
                f" of {plan.full_started:%Y-%m-%d %H:%M} UTC. Find out why it failed, then run: python"
                f" manage.py backup_db {alias} --full",
            )

    def _recent(self, part: DatabasePart) -> Iterator[DatabasePart]:
        """Yield the dumps of the database on this host in the backups of the last ``FULL_EVERY``."""
        context, start = self._context, part.started - self._context.config.full_every
        ids = filter(keys.is_id, context.store.list_dirs(keys.BACKUPS))
        recent = (backup_id for backup_id in ids if keys.id_time(backup_id) >= start)
        for entry in context.catalog.entries(recent):
            if entry.manifest and not entry.untrusted and entry.manifest.host == context.config.host:
                yield from (item for item in entry.manifest.databases if item.alias == part.alias)


def changed_error(part: DatabasePart, changed: list[str]) -> StorageError | None:
    """Return the error for a dump that refers to packs or lists which have changed in storage.

    ``changed`` are the keys of these objects; the result is ``None`` if there are none.
    """
    if not changed:
        return None
    return StorageError(
        f"{changed[0]}, which the dump of {part.alias!r} needs, disappeared from storage or was replaced"
        " during this backup. The earlier backups that need it are damaged.",
        unchanged="The other databases and trees of this backup are not affected.",
        hint=f"Store the whole database again: python manage.py backup_db {part.alias} --full.",
    )
