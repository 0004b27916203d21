"""Which backups an identity opens, found out from the headers of their objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from igny8_backup.errors import IdentityError, UsageError
from igny8_backup.formats.manifest import Manifest
from igny8_backup.operations.context import BackupContext, open_context
from igny8_backup.operations.keys.identity_check import CLOSED, OPENED, PLAIN, UNKNOWN, check_identity
from igny8_backup.streams.age import generate_identity
from tests.operations.signed import backed_up, folder

pytestmark = pytest.mark.slow


@pytest.fixture
def keys_of(tmp_path: Path) -> Any:
    """A function that returns the identity file and the recipient of a person."""
    made: dict[str, tuple[Path, str]] = {}

    def find(name: str) -> tuple[Path, str]:
        if name not in made:
            text, recipient = generate_identity()
            path = tmp_path / f"{name}.identity"
            path.touch(mode=0o600)
            path.write_text(text)
            made[name] = path, recipient
        return made[name]

    return find


@pytest.fixture
def encrypted_to(context: BackupContext, settings: Any, keys_of: Any) -> Any:
    """A function that makes a backup that is encrypted to some people."""

    def back_up(*names: str) -> Manifest:
        recipients = [keys_of(name)[1] for name in names]
        encryption = {"RECIPIENTS": recipients} if names else None
        settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "ENCRYPTION": encryption}
        with open_context() as opened:
            return backed_up(opened)

    return back_up


def states(context: BackupContext, file: Path) -> dict[str, str]:
    return {backup.id: backup.state for backup in check_identity(context, file).backups}


def test_check_identity_opens_the_backups_of_its_recipient_only(
    context: BackupContext, encrypted_to: Any, keys_of: Any
) -> None:
    both, alice, plain = encrypted_to("alice", "bob"), encrypted_to("alice"), encrypted_to()
    again = encrypted_to("alice")
    found = check_identity(context, keys_of("bob")[0])
    assert {backup.id: backup.state for backup in found.backups} == {
        both.id: OPENED,
        alice.id: CLOSED,
        plain.id: PLAIN,
        again.id: CLOSED,
    }
    assert found.recipients == (keys_of("bob")[1],) and not found.complete
    (closed,) = [backup for backup in found.backups if backup.id == alice.id]
    assert (
        set(closed.closed) == {item.key for item in alice.objects() if "age" in item.codecs}
        and closed.opened == 0
    )
    assert "NOT OPENED" in closed.text()
    assert states(context, keys_of("alice")[0])[alice.id] == OPENED
    assert check_identity(context, keys_of("alice")[0]).complete
    assert check_identity(context, keys_of("bob")[0], (both.id,)).complete


def test_check_identity_names_missing_and_altered_objects(
    context: BackupContext, encrypted_to: Any, keys_of: Any
) -> None:
    missing, altered, sound = encrypted_to("alice"), encrypted_to("alice"), encrypted_to("alice")
    (folder(context, missing) / Path(missing.details.key).name).unlink()
    (folder(context, altered) / Path(altered.details.key).name).write_bytes(b"no age file")
    found = {backup.id: backup for backup in check_identity(context, keys_of("alice")[0]).backups}
    assert found[sound.id].state == OPENED
    assert found[missing.id].state == found[altered.id].state == UNKNOWN
    assert f"{missing.details.key} is missing" in found[missing.id].text()
    assert "no complete age header" in found[altered.id].text()
    (folder(context, sound) / "manifest.json").write_bytes(b"damaged")
    assert states(context, keys_of("alice")[0])[sound.id] == UNKNOWN


def test_check_identity_does_not_read_untrusted_backups(
    context: BackupContext, encrypted_to: Any, keys_of: Any, host: Any
) -> None:
    made = encrypted_to("alice")
    with host(trusts=["web"]) as reader:
        (backup,) = check_identity(reader, keys_of("alice")[0]).backups
    assert backup.id == made.id and backup.state == UNKNOWN and "is not trusted" in backup.text()


def test_check_identity_with_an_unknown_id_or_without_identity_is_refused(
    context: BackupContext, encrypted_to: Any, keys_of: Any
) -> None:
    encrypted_to("alice")
    with pytest.raises(UsageError, match="There is no backup 'x'"):
        check_identity(context, keys_of("alice")[0], ("x",))
    with pytest.raises(IdentityError, match="no identity is given"):
        check_identity(context, None)


def test_check_identity_without_backups_is_not_complete(
    context: BackupContext, keys_of: Any, tmp_path: Path
) -> None:
    (tmp_path / "storage").mkdir()
    assert not check_identity(context, keys_of("alice")[0]).complete
