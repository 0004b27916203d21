"""Fixtures: people with identities, and a site whose backups are encrypted to some of them and signed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.formats.manifest import Manifest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.extract.plan import ExtractRequest, plan_extract, run_extract
from igny8_backup.operations.rotate.plan import RotationPlan, plan_rotation
from igny8_backup.operations.rotate.run import RotationResult, rotate
from igny8_backup.streams.age import generate_identity
from tests.operations.clocks import Clock
from tests.operations.nights import let_time_pass
from tests.operations.signed import backed_up


@dataclass(frozen=True)
class Person:
    """Somebody with an age identity: its file, and the recipient."""

    file: Path
    recipient: str


class People:
    """The persons by name, each made when first named."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, Person] = {}

    def __getitem__(self, name: str) -> Person:
        if name not in self._known:
            text, recipient = generate_identity()
            path = self._folder / f"{name}.identity"
            path.touch(mode=0o600)
            path.write_text(text)
            self._known[name] = Person(path, recipient)
        return self._known[name]


@dataclass
class Site:
    """The host web-1: its backups are signed with the key ``web`` and encrypted to some people."""

    people: People
    settings: Any
    host: Any
    trees: tuple[Path, Path]
    clock: Clock

    @contextmanager
    def open(self, *names: str, **options: Any) -> Iterator[BackupContext]:
        """Open a context whose settings name these people as recipients."""
        recipients = [self.people[name].recipient for name in names]
        self.settings.IGNY8_BACKUP = {
            **self.settings.IGNY8_BACKUP,
            "ENCRYPTION": {"RECIPIENTS": recipients} if names else None,
        }
        options = {"signs": "web", "trusts": ["web"], "clock": self.clock, **options}
        with self.host(**options) as context:
            yield context

    def back_up(self, *names: str) -> Manifest:
        with self.open(*names) as context:
            made = backed_up(context)
            self.clock.forward(hours=24)
            let_time_pass(context, "sites")
            let_time_pass(context, "uploads")
            return made

    def plan(self, reader: str, *names: str, ids: tuple[str, ...] = (), **options: Any) -> RotationPlan:
        with self.open(*names, **options) as context:
            return plan_rotation(context, self.people[reader].file, ids)[0]

    def rotate(self, reader: str, *names: str, ids: tuple[str, ...] = (), **options: Any) -> RotationResult:
        """Rotate the backups, which ``reader`` can read, to these people."""
        with self.open(*names, **options) as context:
            file = self.people[reader].file
            plan, _ = plan_rotation(context, file, ids)
            return rotate(context, plan, file, ids)

    def extract(self, reader: str, backup_id: str, to: Path) -> None:
        """Write the trees of a backup, which ``reader`` can read, into the new folder ``to``."""
        with self.open(reader) as context:
            request = ExtractRequest(backup_id=backup_id, to_dir=to, identity_file=self.people[reader].file)
            run_extract(context, plan_extract(context, request))


@pytest.fixture
def people(tmp_path: Path) -> People:
    return People(tmp_path)


@pytest.fixture
def site(people: People, settings: Any, host: Any, trees: tuple[Path, Path]) -> Site:
    return Site(people, settings, host, trees, Clock())
