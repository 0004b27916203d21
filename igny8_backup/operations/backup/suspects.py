"""Find the suspect copies in a new backup, and say why they are suspect and what they lost.

A copy is suspect if it is complete but unlikely to be right, for example because it shrank.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from igny8_backup.common.filesystem import replace_file
from igny8_backup.common.humanize import count_in_words
from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.formats import records
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.manifest import COMPLETE, Manifest
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history import expected_sizes
from igny8_backup.operations.history.read import History, read_history, untrusted_in
from igny8_backup.operations.read.snapshot import take_snapshot
from igny8_backup.retention.policy import Part
from igny8_backup.standing import SIZE, CopyStanding, judge, record_baselines

P = TypeVar("P", DatabasePart, TreePart)

HOUSEKEEPING = frozenset({"django_migrations", "django_content_type", "auth_permission"})
"""Tables that ``migrate`` fills. A database without rows in any other table is regarded as empty."""
_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A suspect copy of the database or tree ``name``. ``text`` says why it is suspect and what to do."""

    name: str
    text: str


@dataclass(frozen=True, kw_only=True)
class RowCounts:
    """The number of rows in each table of a database, according to its newest copy that is not suspect."""

    schema: int
    backup_id: str
    row_counts: dict[str, int]


def total_rows(row_counts: Mapping[str, int]) -> int:
    """Return the number of rows in all tables except those that ``migrate`` fills.

    ``row_counts`` maps the name of each table to the number of its rows.
    """
    return sum(
        count
        for table, count in row_counts.items()
        if table.rpartition(".")[2].strip('"') not in HOUSEKEEPING
    )


class SizeCheck:
    """Compares the sizes of the databases and trees of one run with those in earlier backups.

    The earlier backups are read at the beginning of the run. If they cannot be read, a note says so, nothing
    is compared, and the run goes on. ``snapshot`` is a context that shows the storage at that time. ``lost``:
    earlier backups are gone, so the new manifest records no baselines (the earlier copies that its copies are
    compared with).
    """

    def __init__(self, context: BackupContext, *, lost: bool) -> None:
        self._context = context
        self._lost = lost
        self.snapshot = take_snapshot(context)
        self._history: History | None = None
        try:
            self._history = read_history(self.snapshot)
        except StorageError as error:
            context.progress.note(
                "The earlier backups cannot be read, so it is not checked whether a database or tree has"
                f" shrunk. {error}"
            )

    @property
    def damaged_keys(self) -> frozenset[str]:
        """The keys of the objects that are known to be damaged. New backups must not refer to them."""
        return self._history.standings.damaged_keys if self._history else frozenset()

    def suspects_of_tree(self, name: str) -> frozenset[str]:
        """Return the ids of the backups of this host in which the tree ``name`` is suspect."""
        if self._history is None:
            return frozenset()
        part = Part(host=self._context.config.host, kind="files", name=name)
        copies = self._history.standings.of_series(part)
        return frozenset(copy.backup_id for copy in copies if copy.suspect)

    def with_comparisons(self, manifest: Manifest) -> Manifest:
        """Return a copy of ``manifest`` that records what its databases and trees are compared with.

        Two things are recorded for each: its baseline, which is an earlier copy, and the size that a restore
        has announced (see ``expected_sizes``). A copy of the announced size is not suspect, even if it is
        much smaller than the last one.
        """
        if self._history is not None and not self._lost:
            manifest = record_baselines(manifest, self._history.standings.baselines, self._vouched)

        def announced(part: P) -> P:
            if part.state != COMPLETE or manifest.safety:
                return part
            expected = expected_sizes.announced(self._context, part.kind, part.name)
            return replace(part, expected=expected)

        return replace(
            manifest,
            databases=tuple(map(announced, manifest.databases)),
            trees=tuple(map(announced, manifest.trees)),
        )

    def _vouched(self, backup_id: str) -> bool:
        """Return whether the manifest of a new backup may name the backup ``backup_id`` as a baseline.

        If this host signs its manifests, readers believe them. So the host must know that the backup is
        genuine: anybody could have stored it. If the host signs nothing, or ``TRUSTED`` is set, nothing is
        checked here.
        """
        context, entries = self._context, self._history.entries if self._history else []
        if not backup_id or context.config.trust.required or context.load_signing_key() is None:
            return True
        known = context.known_manifests
        return any(
            known.is_trusted(entry.id, entry.manifest_sha256)
            or known.is_unsigned(entry.id, entry.manifest_sha256)
            for entry in entries
            if entry.id == backup_id
        )

    def find_suspects(self, manifest: Manifest, details: Iterable[DatabaseDetails]) -> tuple[Suspect, ...]:
        """Return the suspect copies in the new backup. Call this when ``manifest`` has been stored.

        ``details`` contain the numbers of rows, which are saved in ``STATE_DIR`` for the next run.
        """
        if manifest.safety:
            return ()
        for part in manifest.parts:
            if part.expected:
                expected_sizes.forget(self._context, part.kind, part.name)
        if self._history is None:
            return ()
        standings = judge(
            [*self._history.manifests, manifest],
            self._history.annotations,
            now=manifest.started,
            shrink=self._context.config.shrink_of,
            untrusted=untrusted_in(self._history.entries),
        )
        row_counts = {item.alias: item.row_counts for item in details}
        found = []
        for copy in standings.of_backup(manifest.id):
            alias = copy.part.name if copy.part.kind == "database" else ""
            if copy.suspect:
                shrank = alias and any(reason.cause == SIZE for reason in copy.unfit)
                lost = _lost_rows(self._context, alias, row_counts.get(alias, {})) if shrank else ""
                found.append(Suspect(name=copy.part.name, text=_text(copy, lost)))
            elif alias in row_counts:
                counts = RowCounts(schema=1, backup_id=manifest.id, row_counts=row_counts[alias])
                with suppress(OSError):
                    replace_file(_path(self._context, alias), records.to_json(counts))
        return tuple(found)


def _text(copy: CopyStanding, lost: str) -> str:
    cause = "mounted" if copy.part.kind == "files" else "the right one (DATABASES)"
    right = "size is right" if {reason.cause for reason in copy.unfit} == {SIZE} else "change is intended"
    why = "; ".join(reason.text for reason in copy.unfit)
    return (
        f"{why}.{lost} The copy is stored, but until you accept it, restores do not choose it and it replaces"
        f" no older copy. Check that the {'folder' if copy.part.kind == 'files' else 'database'} is {cause}."
        f" If the {right}: python manage.py accept_backup {copy.backup_id} --part {copy.part.name}"
        ' --reason "...".'
    )


def _lost_rows(context: BackupContext, alias: str, now: Mapping[str, int]) -> str:
    """Return a sentence that names the tables that lost the most rows; empty if none lost any.

    ``now`` maps each table to its number of rows, which is compared with the number saved in ``STATE_DIR``.
    """
    path = _path(context, alias)
    try:
        then = records.from_json(RowCounts, path.read_bytes(), name=str(path), schema=1).row_counts
    except (OSError, IntegrityError):
        return ""
    lost = {table: count - now.get(table, 0) for table, count in then.items() if count > now.get(table, 0)}
    worst = sorted(lost, key=lambda table: lost[table], reverse=True)[:_SHOWN]
    if not worst:
        return ""
    listed = ", ".join(
        f"{table} ({count_in_words(then[table], 'row')}, now {now.get(table, 0)})" for table in worst
    )
    return f" The most rows are missing in {listed}."


def _path(context: BackupContext, alias: str) -> Path:
    return context.config.state_dir / "rows" / context.config.host / f"{alias}.json"
