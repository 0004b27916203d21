"""Set-ID bits and capabilities of files are dropped and reported, unless they are allowed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.management.commands import run_many
from tests.services.project import Project

IS_ROOT = os.geteuid() == 0
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw+ep, version 2
ASK = "--allow-set-id restores them"


@pytest.fixture
def backed_up(project: Project) -> Project:
    """A backup of files with set-ID bits and capabilities."""
    for name, mode in {"as-owner": 0o4755, "as-group": 0o2755, "as-both": 0o6755, "able": 0o755}.items():
        (project.uploads / name).write_text("a program\n")
        (project.uploads / name).chmod(mode)
    (project.uploads / "folder").mkdir()
    (project.uploads / "folder").chmod(0o2775)
    if IS_ROOT:
        os.setxattr(project.uploads / "able", "security.capability", CAPABILITY)
    (made,) = run_many(project, ["backup_sites", "uploads"])
    made.ended(0)
    return project


def restore(project: Project, *options: str | Path) -> list[str | Path]:
    return ["restore_all", "--only", "uploads", "--noinput", "--identity", project.identity, *options]


def extract(project: Project, *options: str | Path) -> list[str | Path]:
    return ["extract_backup", "--only", "uploads", "--identity", project.identity, *options]


def modes(root: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in root.iterdir() if path.name[0] != "."}


def capable(root: Path) -> bool:
    return "security.capability" in os.listxattr(root / "able")


def test_set_id_bits_are_dropped_and_reported_unless_allowed(backed_up: Project) -> None:
    project = backed_up
    recorded = modes(project.uploads)
    found, given = project.folder / "found", project.folder / "given"
    copied, copied_whole, restored = run_many(
        project,
        extract(project, "--to-dir", found),
        extract(project, "--to-dir", given, "--allow-set-id"),
        restore(project),
    )
    plain = dict.fromkeys(recorded, 0o755) | {"folder": 0o2775}
    for done, root in ((copied, found / "uploads"), (restored, project.uploads)):
        assert modes(root) == plain
        assert not capable(root)
        for name in ("as-owner", "as-group", "as-both"):
            assert f"uploads: {name}: its set-id bits were not set: {ASK}" in done.ended(0).stderr
        assert (f"uploads: able: its capabilities were not set: {ASK}" in done.stderr) == IS_ROOT
    assert modes(given / "uploads") == recorded
    assert capable(given / "uploads") == IS_ROOT
    assert "were not set" not in copied_whole.ended(0).output

    (restored,) = run_many(project, restore(project, "--allow-set-id"))
    assert modes(project.uploads) == recorded
    assert capable(project.uploads) == IS_ROOT
    assert "were not set" not in restored.ended(0).output


@pytest.mark.skipif(not IS_ROOT, reason="only root makes files of others")
def test_set_id_bits_of_a_file_with_another_owner_are_never_restored(backed_up: Project) -> None:
    """Root without the right to change owners: the bits would give root's rights to others."""
    project = backed_up
    os.chown(project.uploads / "as-owner", 12345, 0)
    (project.uploads / "as-owner").chmod(0o4755)  # chown(2) cleared the bit
    found = project.folder / "found"
    powerless = ("setpriv", "--bounding-set=-chown,-setfcap")
    made, restored = (
        project.run(*argv, under=powerless)
        for argv in (["backup_sites", "uploads"], extract(project, "--to-dir", found, "--allow-set-id"))
    )
    assert made.returncode == restored.returncode == 0, made.stderr + restored.stderr
    assert modes(found / "uploads")["as-owner"] == 0o755
    assert modes(found / "uploads")["as-group"] == 0o2755
    shown = restored.stderr
    assert "uploads: as-owner: its set-id bits were not set: only root can set its owner" in shown
    assert "uploads: able: its extended attributes cannot be set: " in shown
