"""The system checks: when each runs, and what it reports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks
from django.db import connections

from igny8_backup.checks import TAG
from igny8_backup.operations.keys.keygen import make_signing_key

RECIPIENT = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
SECRET = "AGE-SECRET-KEY-1" + "Q" * 58
FILES = "django.core.files.storage.FileSystemStorage"

Configure = Callable[..., None]


@pytest.fixture
def configure(settings: Any, tmp_path: Path) -> Configure:
    """Configure a production-like project below ``tmp_path``; keyword arguments change settings."""

    (tmp_path / "sites").mkdir()
    signing_key = make_signing_key(tmp_path / "signing.key")

    def change(**changed: Any) -> None:
        storage: Any = changed.pop("storage", {"BACKEND": FILES, "OPTIONS": {"location": tmp_path / "store"}})
        settings.STORAGES = {"staticfiles": settings.STORAGES["staticfiles"]}
        if storage:
            settings.STORAGES = {**settings.STORAGES, "dbbackup": storage}
        settings.MEDIA_ROOT = str(tmp_path / "media")
        settings.STATIC_ROOT = tmp_path / "static"
        settings.IGNY8_BACKUP = {
            "DATABASES": [],
            "HOST": "web-1",
            "SITES": {"sites": tmp_path / "sites"},
            "STATE_DIR": tmp_path / "state",
            "SCRATCH_DIR": tmp_path / "scratch",
            "ENCRYPTION": {"RECIPIENTS": [RECIPIENT]},
            "SIGNING": {"KEY_FILE": tmp_path / "signing.key"},
            "TRUSTED": [signing_key],
            **changed,
        }

    change()
    return change


def found(*, deploy: bool = True) -> list[CheckMessage]:
    return run_checks(tags=[TAG], include_deployment_checks=deploy)


def numbers(*, deploy: bool = True) -> list[str]:
    messages = found(deploy=deploy)
    ids = [str(message.id).removeprefix("igny8_backup.") for message in messages]
    for number, message in zip(ids, messages, strict=True):
        page = "Checks" if number.startswith("E") else "Warnings of checks"
        assert message.msg and str(message.hint).endswith(
            f' See {number} under "{page}" in the documentation.'
        )
    return ids


@pytest.mark.usefixtures("configure")
def test_checks_valid_settings_report_nothing() -> None:
    assert numbers() == []


def test_check_next_backup_signing_off_is_w020(configure: Configure) -> None:
    configure(SIGNING={}, TRUSTED=[])
    assert numbers() == ["W020"]


def test_checks_invalid_settings_are_reported_with_deploy_only(configure: Configure) -> None:
    configure(JOBS=0, HOST="web 1")
    assert sorted(numbers()) == ["E005", "E010"]
    # A plain error would stop migrate and with it a deployment, or a restore.
    assert numbers(deploy=False) == []


def test_check_storage_missing_is_e020(configure: Configure) -> None:
    configure(storage=None)
    assert numbers() == ["E020"]


@pytest.mark.parametrize("backend", ["no.such.Storage", "storages.no_such", "json.dumps.x"])
def test_check_storage_unknown_backend_is_e021(configure: Configure, backend: str) -> None:
    configure(storage={"BACKEND": backend})
    assert numbers() == ["E021"]


@pytest.mark.parametrize(
    "storage",
    [
        {"OPTIONS": {}},
        {"BACKEND": FILES, "OPTIONS": {"no_such_option": 1}},
        {"BACKEND": FILES, "OPTIONS": {"location": 1}},
        {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": {"no_such_option": 1}},
    ],
)
def test_check_storage_wrong_options_are_e021(configure: Configure, storage: dict[str, Any]) -> None:
    configure(storage=storage)
    assert numbers() == ["E021"]


def test_check_storage_in_memory_is_e029(configure: Configure) -> None:
    configure(storage={"BACKEND": "django.core.files.storage.InMemoryStorage"})
    assert numbers() == ["E029"]


@pytest.mark.parametrize("root", ["media", "static"])
@pytest.mark.parametrize("below", ["", "backups"])
def test_check_storage_in_served_folder_is_e022(
    configure: Configure, tmp_path: Path, root: str, below: str
) -> None:
    configure(storage={"BACKEND": FILES, "OPTIONS": {"location": tmp_path / root / below}})
    assert numbers() == ["E022"]


@pytest.mark.parametrize("place", ["sites", "sites/x/y", ""])
def test_check_storage_inside_or_around_a_tree_is_e023(
    configure: Configure, tmp_path: Path, place: str
) -> None:
    configure(storage={"BACKEND": FILES, "OPTIONS": {"location": tmp_path / place}})
    assert numbers() == ["E023"]
    assert str(tmp_path / "sites") in found()[0].msg


def test_check_storage_behind_a_symlink_is_e023(configure: Configure, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "sites")
    configure(storage={"BACKEND": FILES, "OPTIONS": {"location": tmp_path / "link/x"}})
    assert numbers() == ["E023"]


@pytest.mark.parametrize("inner", ["sites", "sites/logs"])
def test_check_folders_nested_trees_are_e024(configure: Configure, tmp_path: Path, inner: str) -> None:
    for folder in (inner, "sites-2"):
        (tmp_path / folder).mkdir(exist_ok=True)
    configure(LOGS={"logs": tmp_path / inner})
    assert numbers() == ["E024"]
    configure(LOGS={"logs": tmp_path / "sites-2"})  # a longer name is not a subfolder
    assert numbers() == []


@pytest.mark.parametrize("key", ["STATE_DIR", "SCRATCH_DIR"])
@pytest.mark.parametrize("place", ["sites/x", "media", "static/x"])
def test_check_folders_state_dir_in_a_tree_is_e025(
    configure: Configure, tmp_path: Path, key: str, place: str
) -> None:
    configure(**{key: tmp_path / place})
    assert numbers() == ["E025"]
    assert key in found()[0].msg


def test_check_encryption_no_recipient_is_e030(configure: Configure, settings: Any) -> None:
    configure(ENCRYPTION={})
    assert numbers() == ["E030"]
    assert "generate_backup_key" in str(found()[0].hint)
    configure(ENCRYPTION=None)
    assert numbers() == []
    configure(ENCRYPTION={})
    settings.DEBUG = True
    assert numbers() == []


@pytest.mark.parametrize("wrong", [RECIPIENT[:-1], RECIPIENT[:-1] + "x", "ssh-ed25519 AAAA", "", SECRET])
def test_check_encryption_invalid_recipient_is_e031(configure: Configure, wrong: str) -> None:
    configure(ENCRYPTION={"RECIPIENTS": [RECIPIENT, wrong]})
    assert numbers() == ["E031"]
    assert "recipient 2 of 2" in found()[0].msg


def test_check_encryption_to_a_signing_key_is_e031(configure: Configure, tmp_path: Path) -> None:
    """The private half of a signing key is on the server, which must not be able to read its backups."""
    line = make_signing_key(tmp_path / "second.key")
    configure(ENCRYPTION={"RECIPIENTS": [RECIPIENT, f"{line} web-1"]})
    assert numbers() == []
    configure(ENCRYPTION={"RECIPIENTS": [RECIPIENT, f"{line} web-1"]}, TRUSTED=[f"{line} web-1"], SIGNING={})
    assert "E031" in numbers()
    assert any("The recipient 'web-1' is a signing key" in message.msg for message in found())


def test_check_encryption_private_key_is_not_repeated(configure: Configure) -> None:
    configure(ENCRYPTION={"RECIPIENTS": [SECRET]})
    assert "secret key" in found()[0].msg
    assert "Q" * 8 not in repr([(message.msg, message.hint) for message in found()])


def test_check_sqlite_without_debug_is_e040(configure: Configure, settings: Any) -> None:
    assert connections["default"].vendor == "sqlite"
    configure(DATABASES=["default"])
    assert numbers() == ["E040"]
    settings.DEBUG = True
    assert numbers() == []


def test_check_debug_storage_missing_is_w001(configure: Configure, settings: Any) -> None:
    settings.DEBUG = True
    configure(storage=None)
    assert numbers(deploy=False) == ["W001"]
    assert ".igny8_backup/backups" in found(deploy=False)[0].msg
    configure()
    assert numbers(deploy=False) == []
