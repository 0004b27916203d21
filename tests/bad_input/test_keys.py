"""Identities and recipients that are missing, mistyped or those of another key.

tests/management/test_errors.py covers, end to end: no identity, the identity of another key, one that others
can read, a missing file, a folder, an incomplete file, a secret key instead of a path; a mistyped recipient,
a secret key as recipient, no recipient; and that keys are never overwritten.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pyrage

from tests.bad_input.conftest import Ground
from tests.bad_input.outcome import Case, fail

GIVE = "Give the file that generate_backup_key wrote: --identity FILE."


def private(path: Path, content: str | bytes) -> Path:
    path.touch(0o600)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_identity_file_without_identity_is_refused(ground: Ground, tmp_path: Path) -> None:
    real = ground.project.identity.read_text()
    locked = subprocess.run(
        ["age", "--encrypt", "--armor", "--recipient", ground.project.recipient],
        input=real.encode(),
        capture_output=True,
        check=True,
    )
    files = {
        "There is no identity in": private(tmp_path / "empty", "# only words\n"),
        "Line 1 of": private(tmp_path / "recipient", ground.project.recipient),
        "is not an age identity file": private(tmp_path / "bytes", b"\xff\xfe\x00"),
        "itself encrypted": private(tmp_path / "encrypted", locked.stdout),
        "cannot be read: No such file": tmp_path / "none",
    }
    fixes = {"itself encrypted": f"--identity <(age -d {tmp_path}/encrypted)."}
    fail(
        ground.project,
        *(
            Case(
                [*ground.restore, "--identity", path],
                1,
                what,
                "Nothing was changed.",
                fixes.get(what, GIVE),
                shown=what.startswith("Line"),
            )
            for what, path in files.items()
        ),
    )


def test_identity_of_other_key_is_named_by_its_recipient(ground: Ground, tmp_path: Path) -> None:
    another = pyrage.x25519.Identity.generate()
    file = private(tmp_path / "another", f"{another}\n")
    what = f"not encrypted to this identity (of {another.to_public()})"
    way = "Give the identity of a recipient that the settings named when the backup was made."
    results = fail(
        ground.project,
        *(
            Case([*argv, "--identity", file], 1, what, "Nothing live was changed.", way, shown=True)
            for argv in (ground.restore, ["restore_all", "--dry-run"], ["show_backup", ground.id])
        ),
    )
    assert not any(str(another)[20:] in done.output for done in results)


def test_recipients_of_other_kinds_are_refused(ground: Ground) -> None:
    """They are refused before anything is read or written, for every kind of backup."""
    right = ground.project.recipient
    mistyped = right[:20] + ("p" if right[20] == "q" else "q") + right[21:]
    ssh = "ssh-ed25519 AAAA"
    wrong = {
        f"{mistyped}, recipient 2 of 2, is not a valid X25519 recipient": [right, mistyped],
        "recipient 1 of 1, is not a valid X25519 recipient": [right[:-4]],
        f"{ssh}, recipient 1 of 1, is not a valid SSH recipient": [ssh],
        "The text given as recipient 1 of 1 is not an age recipient": ["ecdsa-sha2-nistp256 AAAA"],
    }
    fail(
        ground.project,
        *(
            Case(
                [command],
                4,
                what,
                "Nothing was read or written.",
                "Copy the recipient that generate_backup_key printed",
                settings={"ENCRYPTION": {"RECIPIENTS": recipients}},
                shown="X25519" in what,
            )
            for what, recipients in wrong.items()
            for command in ("backup_db", "backup_sites", "backup_all")
        ),
    )
