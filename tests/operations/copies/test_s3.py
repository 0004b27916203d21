"""A copy in S3: its objects are locked there, it can be verified, and it heals the storage of the backups."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.operations.copies.heal import heal
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify
from igny8_backup.store.s3 import S3Store
from tests.operations.clocks import Clock
from tests.operations.copies.conftest import Opened
from tests.operations.copies.test_run import copy_all
from tests.operations.signed import backed_up
from tests.services.moto import MotoServer

pytestmark = [pytest.mark.services, pytest.mark.slow]

LOCK = {"offsite": {"mode": "GOVERNANCE", "days": 30}}


def test_copy_in_a_locking_bucket_is_locked_verified_and_heals(
    opened: Opened,
    moto_server: MotoServer,
    settings: Any,
    trees: tuple[Path, Path],
    clock: Clock,
    tmp_path: Path,
) -> None:
    (trees[0] / "large").write_bytes(os.urandom(9 << 20))  # more than one part of an upload
    bucket = moto_server.bucket(lock=True)
    backend = {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": moto_server.options(bucket),
    }
    settings.STORAGES = {**settings.STORAGES, "offsite": backend}
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "OBJECT_LOCK": LOCK}
    clock.now = clock.now.now(clock.now.tzinfo)  # the server compares locks with its own clock
    with opened() as context:
        first = backed_up(context)
        assert copy_all(context).complete
        clock.forward(hours=1)
        second = backed_up(context)
        result = copy_all(context)
        assert result.complete and result.copied == (second.id,)
        pack = first.trees[0].packs[0]
        with opened("offsite", changing=True) as copy:
            until = copy.store.locked_until(first.details.key)
            assert until and (until - clock.now).days >= 30
            assert context.store.locked_until(pack.key) is None
            assert verify(copy, VerifyRequest(backup_id=second.id)).findings == ()
            assert prune(copy).problem == ""
        (tmp_path / "storage/igny8" / pack.key).unlink()
        assert heal(context).healed == {pack.key: "offsite"}
        assert verify(context, VerifyRequest(backup_id=second.id)).findings == ()


def test_copy_between_buckets_of_one_server_is_made_there_and_checked(
    opened: Opened,
    moto_server: MotoServer,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    clock: Clock,
) -> None:
    for alias in ("dbbackup", "offsite"):
        options = moto_server.options(moto_server.bucket())
        backend = {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}
        settings.STORAGES = {**settings.STORAGES, alias: backend}
    answers: list[str | None] = []
    lies: list[str] = []
    copy_from = S3Store.copy_from

    def wrong(self: S3Store, *arguments: Any) -> str | None:
        digest = copy_from(self, *arguments)
        answers.append(digest)
        return lies[0] or digest

    monkeypatch.setattr(S3Store, "copy_from", wrong)
    with opened() as context:
        for lie in ("", "0" * 64):  # the second time, the server is made to answer with another digest
            lies[:] = [lie]
            clock.forward(hours=1)
            manifest = backed_up(context)
            answers.clear()
            assert copy_all(context).copied == (manifest.id,)
            assert answers and None not in answers
            with opened("offsite") as copy:
                assert verify(copy, VerifyRequest(backup_id=manifest.id)).findings == ()
                assert [entry.id for entry in copy.catalog.entries()][0] == manifest.id
