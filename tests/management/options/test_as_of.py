"""``--as-of``: what was in the bucket before an attack is restored, and a wrong time is refused."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from igny8_backup.management.options.as_of import add_as_of_argument
from tests.management.commands import run_many
from tests.management.state import differences, of_project
from tests.operations.test_round_trip import destroy
from tests.services.moto import MotoServer
from tests.services.project import Project
from tests.store.s3.test_versions import next_second


def parse(text: str) -> datetime:
    parser = ArgumentParser(exit_on_error=False)
    add_as_of_argument(parser)
    found: datetime = parser.parse_args(["--as-of", text]).as_of
    return found


def test_as_of_without_an_offset_is_in_the_time_zone_of_the_project(settings: Any) -> None:
    settings.TIME_ZONE = "Asia/Kolkata"
    assert parse("2026-01-02T05:30") == datetime(2026, 1, 2, tzinfo=UTC)
    assert parse("2026-01-02") == datetime(2026, 1, 1, 18, 30, tzinfo=UTC)
    assert parse("2026-01-02T05:30+00:00") == datetime(2026, 1, 2, 5, 30, tzinfo=UTC)


@pytest.mark.parametrize("text", ["yesterday", "", "2026-13-01", "9999-12-31"])
def test_as_of_with_a_wrong_time_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match="is not a time such as|is in the future"):
        call_command("list_backups", "--as-of", text)


@pytest.mark.slow
def test_restore_all_as_of_restores_what_an_attacker_deleted(
    project: Project, moto_server: MotoServer
) -> None:
    bucket, client = moto_server.bucket(), moto_server.client()
    environment = {
        "IGNY8_BACKUP_S3_BUCKET": bucket,
        "IGNY8_BACKUP_S3_ENDPOINT": moto_server.endpoint,
        "IGNY8_BACKUP_S3_ACCESS_KEY": moto_server.access_key,
        "IGNY8_BACKUP_S3_SECRET_KEY": moto_server.secret_key,
    }
    project.seed_small()
    before = of_project(project)
    (made,) = run_many(project, ["backup_all"], env=environment)
    made.ended(0)
    moment = next_second()
    for item in client.list_objects_v2(Bucket=bucket)["Contents"]:
        client.put_object(Bucket=bucket, Key=item["Key"], Body=b"encrypted by an attacker")
        client.delete_object(Bucket=bucket, Key=item["Key"])
    client.close()
    destroy(project)
    earlier = (moment - timedelta(days=1)).isoformat()
    nothing, too_early, restored = run_many(
        project,
        ["restore_all", "--noinput", "--identity", project.identity],
        ["list_backups", "--as-of", earlier],
        ["restore_all", "--noinput", "--identity", project.identity, "--as-of", moment.isoformat()],
        env=environment,
    )
    assert nothing.returncode != 0 and "There is no backup" in too_early.ended(0).stdout
    restored.ended(0)
    assert [line for line in differences(before, of_project(project)) if not line.startswith("logs/")] == []
