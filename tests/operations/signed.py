"""Signing keys by name, and backups that are signed with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.errors import IntegrityError
from igny8_backup.formats.manifest import Manifest
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.extract.plan import ExtractRequest, plan_extract
from igny8_backup.operations.keys.keygen import make_signing_key
from igny8_backup.operations.read.details import read_details
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify
from tests.operations.clocks import Clock

REQUEST = BackupRequest(trees=("sites", "uploads"))


class Keys:
    """Signing keys by name, each with its file and its public line."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.lines: dict[str, str] = {}

    def file(self, name: str) -> Path:
        path = self._folder / f"{name}.key"
        if name not in self.lines:
            self.lines[name] = f"{make_signing_key(path)} {name}"
        return path

    def line(self, name: str) -> str:
        self.file(name)
        return self.lines[name]


@dataclass
class SignedSite:
    """Hosts that use one storage and one clock. ``host`` is the fixture, ``web`` the key of web-1."""

    host: Any
    clock: Clock

    @contextmanager
    def open(self, signs: str = "web", trusts: Any = ("web",)) -> Iterator[BackupContext]:
        with self.host(signs=signs, trusts=trusts, clock=self.clock) as context:
            yield context


def backed_up(context: BackupContext) -> Manifest:
    manifest = run_backup(context, REQUEST).manifest
    assert manifest
    return manifest


def folder(context: BackupContext, manifest: Manifest) -> Path:
    return Path(context.store.describe().removeprefix("the folder ")) / "backups" / manifest.id


def assert_refused(context: BackupContext, manifest: Manifest, problem: str, tmp_path: Path) -> None:
    """Whatever decodes the contents of the backup refuses it."""
    with pytest.raises(IntegrityError, match=problem):
        read_details(context, manifest, [])
    with pytest.raises(IntegrityError, match=problem):
        plan_extract(context, ExtractRequest(backup_id=manifest.id, to_dir=tmp_path / "new"))
    with pytest.raises(IntegrityError, match=problem):
        verify(context, VerifyRequest(backup_id=manifest.id, depth="content"))
