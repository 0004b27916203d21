"""The programs that keep hourly dumps under a simulated clock, with one interface."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from benchmarks.measure import Argv, RunFailed, run
from benchmarks.project import Project, bytes_in


def set_up_django(project: Project, overrides: Mapping[str, object]) -> None:
    """Set up Django in this process with the environment of ``project``; change ``IGNY8_BACKUP``."""
    os.environ.update(project.environment)
    import django
    from django.conf import settings

    django.setup()
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, **overrides}


class Keeper(ABC):
    """A program that keeps dumps of the database of ``project``."""

    title: str

    def __init__(self, project: Project, dump: Argv, rules: Mapping[str, int]) -> None:
        self.project = project
        self.dump = dump
        self.rules = rules

    @abstractmethod
    def backup(self, now: datetime) -> None:
        """Make a backup that is dated ``now``."""

    @abstractmethod
    def prune(self, now: datetime) -> None:
        """Remove the backups that the retention does not keep, as of ``now``."""

    @abstractmethod
    def kept(self) -> dict[datetime, str]:
        """Return the ids of the backups in storage by their dates, oldest first."""

    @abstractmethod
    def archive(self, backup_id: str) -> Sequence[Argv]:
        """Return a pipeline that writes the dump of a backup to stdout."""

    @abstractmethod
    def stored(self) -> int:
        """Return the bytes in storage."""


class Ours(Keeper):
    """This package, in this process, with a clock that is set. Django must be set up with ``project``."""

    title = "`backup_db` in chunks, `prune_backups`"

    def backup(self, now: datetime) -> None:
        from igny8_backup.operations.backup.request import BackupRequest
        from igny8_backup.operations.backup.run import run_backup
        from igny8_backup.operations.context import open_context

        with open_context(writing=True, clock=lambda: now) as context:
            result = run_backup(context, BackupRequest(databases=("default",)))
        if not result.complete:
            raise RunFailed("\n".join(result.problems(10)))

    def prune(self, now: datetime) -> None:
        from igny8_backup.operations.context import open_context
        from igny8_backup.operations.maintain.pruning.prune import prune

        with open_context(changing=True, clock=lambda: now) as context:
            result = prune(context)
        if not result.complete:
            raise RunFailed("\n".join(result.problems()))

    def kept(self) -> dict[datetime, str]:
        from igny8_backup.operations.context import open_context

        with open_context() as context:
            found = {entry.id: entry.manifest for entry in context.catalog.entries()}
        dated = {manifest.started: name for name, manifest in found.items() if manifest}
        return dict(sorted(dated.items()))

    def kinds(self) -> dict[str, int]:
        """Return how many dumps in storage are of each kind."""
        from igny8_backup.operations.context import open_context

        with open_context() as context:
            manifests = [entry.manifest for entry in context.catalog.entries() if entry.manifest]
        parts = [part for manifest in manifests for part in manifest.databases]
        return dict(Counter(part.chunked.kind for part in parts if part.chunked))

    def archive(self, backup_id: str) -> Sequence[Argv]:
        path = self.project.folder / "archive"
        path.unlink(missing_ok=True)
        self.project.run(
            *("extract_backup", backup_id, "--archive", path, "--identity", self.project.identity)
        )
        return [("cat", path)]

    def stored(self) -> int:
        return bytes_in(self.project.storage)


class Restic(Keeper):
    """restic, which reads an uncompressed dump from a pipe."""

    title = "`pg_dump \\| restic backup --stdin`, `restic forget --prune`"

    def __init__(self, project: Project, dump: Argv, rules: Mapping[str, int]) -> None:
        super().__init__(project, dump, rules)
        self.repository = project.folder / "restic"
        self._run(self._restic("init"))

    def backup(self, now: datetime) -> None:
        words = ("backup", "--quiet", "--stdin", "--stdin-filename", "dump", "--host", "benchmark")
        command = self._restic(*words, "--time", f"{now:%Y-%m-%d %H:%M:%S}")
        pipe = ("bash", "-o", "pipefail", "-c", '"${@:2:$1}" | "${@:$1+2}"', "bash", str(len(self.dump)))
        self._run((*pipe, *self.dump, *command))

    def prune(self, now: datetime) -> None:
        rules = [word for rule, count in self.rules.items() for word in (f"--keep-{rule}", str(count))]
        self._run(self._restic("forget", "--quiet", "--prune", *rules))

    def kept(self) -> dict[datetime, str]:
        listed = json.loads(self._run(self._restic("snapshots", "--json")))
        dated = {datetime.fromisoformat(item["time"]).astimezone(UTC): item["id"] for item in listed}
        return dict(sorted(dated.items()))

    def archive(self, backup_id: str) -> Sequence[Argv]:
        return [self._restic("dump", backup_id, "/dump")]

    def stored(self) -> int:
        return bytes_in(self.repository)

    def _restic(self, *words: str) -> Argv:
        cache = self.project.folder / "restic-cache"
        return ("restic", "--repo", self.repository, "--cache-dir", cache, *words)

    def _run(self, argv: Argv) -> str:
        return run(argv, env=self.project.environment, cwd=self.project.folder)
