"""A signed backup that was made elsewhere is refused: its signature is right, but it is not one of ours."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.errors import IntegrityError, RefusedError
from igny8_backup.formats.manifest import Manifest
from igny8_backup.management.commands import show_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.extract.plan import ExtractRequest, plan_extract
from igny8_backup.operations.guards.genuine import Accept
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.read.details import read_details
from igny8_backup.operations.sign import sign_backups
from igny8_backup.signing.trust import Place
from tests.operations.signed import Keys, assert_refused, backed_up

pytestmark = pytest.mark.slow

PLACE = Place(environment="production", prefix="igny8/", host="web-1", hosts=("web-1", "web-2"))


@pytest.fixture
def reader(host: Any, settings: Any) -> Any:
    """A function that opens a context which signs and trusts the key ``web``, with some settings changed."""

    @contextmanager
    def opened(trusts: Any = ("web",), accept: Accept = Accept(), **changes: Any) -> Iterator[BackupContext]:  # noqa: B008 - frozen
        before = settings.IGNY8_BACKUP
        settings.IGNY8_BACKUP = {**before, **changes}
        with host(signs="web", trusts=trusts, accept=accept) as context:
            yield context
        settings.IGNY8_BACKUP = before

    return opened


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        ({}, ""),
        ({"environment": "staging"}, "made in the environment 'staging', and this is 'production'"),
        ({"prefix": "shop/"}, "made under the PREFIX 'shop/', and this is 'igny8/'"),
        ({"prefix": None}, ""),
        ({"host": "web-2"}, ""),
        ({"host": "web-9"}, "made on the host web-9, which HOSTS does not name"),
    ],
)
def test_misfit_says_why_a_backup_was_made_elsewhere(made: dict[str, Any], problem: str) -> None:
    found = PLACE.misfit(**{"environment": "production", "prefix": "igny8/", "host": "web-1", **made})
    assert problem in found and bool(found) == bool(problem)


def staging(reader: Any) -> Manifest:
    """Make a backup in the environment staging, in the storage that production reads too."""
    with reader(ENVIRONMENT="staging") as context:
        return backed_up(context)


def test_signed_backup_of_another_environment_is_refused_unless_it_is_accepted(
    reader: Any, tmp_path: Path
) -> None:
    manifest = staging(reader)
    with reader() as context:
        assert "environment 'staging'" in context.catalog.entries()[0].untrusted
        assert_refused(context, manifest, "environment 'staging'", tmp_path)
    with reader(accept=Accept(foreign=True)) as context:
        assert read_details(context, manifest, []).id == manifest.id


def test_unsigned_backup_of_another_environment_is_not_accepted_as_foreign(host: Any, reader: Any) -> None:
    with host(trusts=["web"]) as context:
        manifest = backed_up(context)
    with reader(accept=Accept(foreign=True)) as context, pytest.raises(IntegrityError, match="not signed"):
        read_details(context, manifest, [])


def test_storage_copied_under_another_prefix_is_refused(reader: Any, tmp_path: Path) -> None:
    with reader(PREFIX="staging/") as context:
        manifest = backed_up(context)
    shutil.copytree(tmp_path / "storage/staging", tmp_path / "storage/production")
    with reader(PREFIX="production/") as context:
        assert_refused(context, manifest, "PREFIX 'staging/'", tmp_path)
    with reader(PREFIX="staging/") as context:
        assert read_details(context, manifest, []).id == manifest.id


def test_backup_of_a_host_that_the_settings_do_not_name_is_refused(reader: Any, keys: Keys) -> None:
    with reader(HOST="web-9") as context:
        manifest = backed_up(context)
    with (
        reader(HOSTS={"web-1": {}}) as context,
        pytest.raises(IntegrityError, match="HOSTS does not name"),
    ):
        read_details(context, manifest, [])
    retired = {"KEY": keys.line("web"), "HOSTS": ["web-1", "web-9"]}
    with reader(trusts=[retired], HOSTS={"web-1": {}}) as context:
        assert read_details(context, manifest, []).id == manifest.id


def test_foreign_backup_is_neither_chosen_nor_signed_nor_removed(reader: Any, tmp_path: Path) -> None:
    foreign = [staging(reader) for _ in range(2)]
    with reader(RETENTION={"last": 1}) as context:
        with pytest.raises(RefusedError, match="environment 'staging'"):
            plan_extract(context, ExtractRequest(to_dir=tmp_path / "new"))
        refused = sign_backups(context, tuple(manifest.id for manifest in foreign)).refused
        assert all("not a backup of this project" in text for text in refused.values()) and len(refused) == 2
        own = backed_up(context)
        assert prune(context).removed == ()
        chosen = plan_extract(context, ExtractRequest(to_dir=tmp_path / "new")).trees
        assert {tree.backup_id for tree in chosen} == {own.id}


@pytest.mark.parametrize(
    ("options", "status"), [([], 6), (["--accept-foreign"], 0), (["--accept-unsigned"], 0)]
)
def test_show_backup_of_another_environment_ends_with_status(
    reader: Any, options: list[str], status: int
) -> None:
    manifest = staging(reader)
    with reader():
        ended = 0
        try:
            show_backup.Command().run_from_argv(["manage.py", "show_backup", manifest.id, *options])
        except SystemExit as stopped:
            ended = int(str(stopped.code))
    assert ended == status
