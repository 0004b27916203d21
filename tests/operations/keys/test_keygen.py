"""New keys, and what an empty machine can do with nothing but the identity file and the storage."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.common.clock import utc_now
from igny8_backup.conf import get_config
from igny8_backup.errors import FilesError, IntegrityError, UsageError
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext, open_context
from igny8_backup.operations.keys.keygen import KeyPairs, make_keys, make_signing_key
from igny8_backup.operations.read.details import read_details

REQUEST = BackupRequest(trees=("sites",))


def made_keys(folder: Path, *, signing: bool = True) -> KeyPairs:
    return make_keys(
        get_config(), folder / "backup.key", utc_now(), folder / "signing.key" if signing else None
    )


def in_comments(identity_file: str) -> dict[str, Any]:
    """Return the settings in the comments of an identity file."""
    lines = Path(identity_file).read_text().splitlines()
    source = "\n".join(line[2:] for line in lines if line.startswith("# "))
    begin, end = source.index("IGNY8_BACKUP"), source.index("public key:")
    found: dict[str, Any] = {"STORAGES": {}}
    exec(source[begin:end], found)
    return found


def test_comments_of_the_identity_file_are_the_settings_that_an_empty_machine_needs(
    context: BackupContext, settings: Any, tmp_path: Path
) -> None:
    made = made_keys(tmp_path)
    public = {"ENCRYPTION": {"RECIPIENTS": [made.recipient]}, "TRUSTED": [made.public_signing_key]}
    signs = {"SIGNING": {"KEY_FILE": made.signing_key_file}}
    settings.IGNY8_BACKUP = (given := settings.IGNY8_BACKUP) | public | signs
    with open_context() as signing:
        signed = run_backup(signing, REQUEST).manifest
    settings.IGNY8_BACKUP = given | public
    with open_context() as signing:
        unsigned = run_backup(signing, REQUEST).manifest
    assert signed and unsigned
    shutil.rmtree(tmp_path / "state")
    found = in_comments(made.identity_file)
    settings.STORAGES = {**settings.STORAGES, **found["STORAGES"]}
    settings.IGNY8_BACKUP = {
        **found["IGNY8_BACKUP"],
        "DATABASES": [],
        "STATE_DIR": tmp_path / "new",
        "SCRATCH_DIR": tmp_path,
    }
    with open_context() as empty:
        identities = empty.identities(Path(made.identity_file), needed=True)
        assert read_details(empty, signed, identities).id == signed.id
        with pytest.raises(IntegrityError, match="not signed"):
            read_details(empty, unsigned, identities)


def test_make_keys_writes_no_secret_of_the_storage(
    context: BackupContext, settings: Any, tmp_path: Path
) -> None:
    options = {
        "bucket_name": "backups",
        "endpoint_url": "https://user:sentinel-1@s3.example",
        "access_key": "sentinel-2",
        "secret_key": "sentinel-3",
        "custom": {"token": "sentinel-4"},
    }
    backend = {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}
    settings.STORAGES = {**settings.STORAGES, "dbbackup": backend}
    made = made_keys(tmp_path)
    text = Path(made.identity_file).read_text()
    assert '"bucket_name": "backups"' in text and "sentinel" not in text + repr(made)
    assert "PRIVATE KEY" not in text and "AGE-SECRET-KEY" not in repr(made)


def test_make_keys_leaves_no_signing_key_if_the_identity_cannot_be_written(
    context: BackupContext, tmp_path: Path
) -> None:
    (tmp_path / "backup.key").write_text("the only key")
    with pytest.raises(UsageError, match="already exists"):
        made_keys(tmp_path)
    assert not (tmp_path / "signing.key").exists()
    assert (tmp_path / "backup.key").read_text() == "the only key"
    with pytest.raises(FilesError, match="cannot be written"):
        make_keys(get_config(), tmp_path / "none/key", utc_now(), tmp_path / "signing.key")
    assert not (tmp_path / "signing.key").exists()


def test_make_keys_without_a_new_signing_key_names_the_keys_in_use(
    context: BackupContext, settings: Any, tmp_path: Path
) -> None:
    """A second identity, for somebody else, needs the same settings to read the backups."""
    line = make_signing_key(tmp_path / "web.key")
    other = f"{make_signing_key(tmp_path / 'other.key')} db-1"
    settings.IGNY8_BACKUP |= {
        "SIGNING": {"KEY_FILE": tmp_path / "web.key"},
        "TRUSTED": [line, {"KEY": other, "HOSTS": ["db-1"], "REVOKED": True}],
    }
    made = made_keys(tmp_path, signing=False)
    assert made.signing_key_file == "" and made.public_signing_key == f"{line} web-1"
    trusted = in_comments(made.identity_file)["IGNY8_BACKUP"]["TRUSTED"]
    assert trusted == settings.IGNY8_BACKUP["TRUSTED"]
    assert re.fullmatch(r"age1[0-9a-z]+", made.recipient)


def test_make_keys_on_a_machine_without_the_signing_key_names_the_trusted_keys(
    context: BackupContext, settings: Any, tmp_path: Path
) -> None:
    line = make_signing_key(tmp_path / "web.key")
    signing = {"SIGNING": {"KEY_FILE": tmp_path / "only-on-the-server"}, "TRUSTED": [line]}
    settings.IGNY8_BACKUP = settings.IGNY8_BACKUP | signing
    made = made_keys(tmp_path, signing=False)
    assert made.public_signing_key == ""
    assert in_comments(made.identity_file)["IGNY8_BACKUP"]["TRUSTED"] == [line]
