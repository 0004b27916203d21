"""Move a backup that a test has made: to other recipients, and to another storage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyrage

from tests.management.commands import Command, run_many
from tests.services.project import Project


@dataclass(frozen=True)
class Moved:
    """A backup with other recipients that was copied to ``offsite`` and verified there.

    ``identity`` is the file with the identity of the other recipient, and ``settings`` name this recipient.
    """

    id: str
    identity: Path
    settings: dict[str, Any]
    offsite: Path


def rotate_and_copy(project: Project, backup: Command, settings: dict[str, Any]) -> Moved:
    """Run ``backup``, rotate its recipients with ``settings``, copy it, and verify the copy."""
    key, identity = pyrage.x25519.Identity.generate(), project.home / "other.txt"
    identity.touch(mode=0o600)
    identity.write_text(f"{key}\n")
    other = {**settings, "ENCRYPTION": {"RECIPIENTS": [str(key.to_public())]}}
    offsite = project.folder / "offsite"
    offsite.mkdir()
    made, rotated = run_many(
        project, backup, Command(["rotate_recipients", "--identity", project.identity, "--noinput"], other)
    )
    verify: list[str | Path] = [
        "verify_backup",
        "--from-storage",
        "offsite",
        "--depth",
        "content",
        "--identity",
        identity,
    ]
    copied, verified = run_many(
        project,
        Command(["copy_backups"], other),
        Command(verify, other),
        env={"IGNY8_BACKUP_OFFSITE": str(offsite)},
    )
    for done in (made, rotated, copied, verified):
        done.ended(0)
    return Moved(made.json["manifest"]["id"], identity, other, offsite)
