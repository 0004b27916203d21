"""The pages in the admin: permissions, what they show, and from where."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from igny8_backup.conf import get_config
from igny8_backup.formats.documents.status import Activity, Work
from igny8_backup.operations.status.keep import keep_activity, keep_status, status_file
from tests.web.conftest import Keep, make_user
from tests.web.statuses import MARKUP, backup_id, healthy, troubled

pytestmark = pytest.mark.django_db
PAGE = "/admin/igny8_backup/backup/"
NOW = datetime.now(UTC)


@pytest.fixture
def client() -> Client:
    found = Client()
    found.force_login(make_user("ada", "view_backup"))
    return found


def shown(client: Client, address: str = "") -> str:
    """The visible text of a page, with white space collapsed."""
    answer = client.get(PAGE + address)
    assert answer.status_code == 200
    return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode().partition("<main")[2]).split())


def test_status_without_problems_says_that_all_is_well(client: Client, keep: Keep) -> None:
    keep(healthy(NOW))
    text = shown(client)
    assert "All is well." in text
    assert "Not all is well" not in text
    assert "60 of 60 days complete" in text or "59 of 59 days complete" in text


def test_tree_that_failed_last_night_is_named_with_the_reason(client: Client, keep: Keep) -> None:
    keep(troubled(NOW))
    text = shown(client)
    assert "Not all is well: files uploads of web-1." in text
    assert "uploads: A folder or file on the host could not be read or written." in text
    assert f'href="{PAGE}run/{backup_id(0, NOW)}/"' in client.get(PAGE).content.decode()
    run = shown(client, f"run/{backup_id(0, NOW)}/")
    assert "Not backed up: uploads." in run
    assert "Do: Check that the folder is mounted" in run
    assert "Backed up: default, sites-data." in run
    assert "The whole message is in the log of the run" in run


def test_page_of_a_run_that_was_killed_promises_no_message(client: Client, keep: Keep) -> None:
    keep(troubled())
    run = shown(client, f"run/{backup_id(17)}/")
    assert "Its outcome is died ." in run and "Look for the end of the process" in run
    assert "The whole message" not in run


def test_names_with_markup_are_shown_as_text(client: Client, keep: Keep) -> None:
    status = troubled(NOW)
    keep(replace(status, parts=(*status.parts, replace(status.parts[0], name=MARKUP))))
    for address in ("", "all/", f"{backup_id(0, NOW)}/"):
        page = client.get(PAGE + address).content.decode()
        assert MARKUP not in page
        assert MARKUP.replace("<", "&lt;").replace(">", "&gt;") in page


def test_pages_need_the_permission_to_view_backups(keep: Keep) -> None:
    keep(troubled(NOW))
    other = Client()
    addresses = ("", "all/", f"{backup_id(0, NOW)}/", f"run/{backup_id(0, NOW)}/")
    assert [other.get(PAGE + address).status_code for address in addresses] == [302] * 4
    other.force_login(make_user("eve"))
    assert [other.get(PAGE + address).status_code for address in addresses] == [403] * 4
    assert "Backups" not in other.get("/admin/").content.decode()


def test_admin_lists_the_page_for_viewers(client: Client, keep: Keep) -> None:
    keep(healthy(NOW))
    index = client.get("/admin/").content.decode()
    assert f'href="{PAGE}"' in index
    assert f'href="{PAGE}add/"' not in index
    assert reverse("admin:igny8_backup_backup_changelist") == PAGE


@pytest.mark.parametrize("address", ["20260101T000000Z-abcdef/", "run/none/", "run/20260101T000000Z-abcdef/"])
def test_unknown_backup_or_run_is_not_found(client: Client, keep: Keep, address: str) -> None:
    keep(healthy(NOW))
    assert client.get(PAGE + address).status_code == 404


def test_page_without_a_status_says_where_it_was_looking(client: Client, keep: Keep) -> None:
    text = shown(client)
    assert "The state of the backups is not known." in text
    assert f"There is no file {status_file(get_config())}" in text


def test_damaged_status_is_reported_and_not_an_error(client: Client, keep: Keep) -> None:
    keep(healthy(NOW))
    status_file(get_config()).write_bytes(b"not a status")
    assert "The status document is damaged." in shown(client)


def test_wrong_settings_are_reported_and_not_an_error(client: Client, settings: Any) -> None:
    settings.IGNY8_BACKUP = {"STATUS_CACHE": "nowhere"}
    assert "CACHES has no such cache" in shown(client)


def test_cache_is_read_instead_of_the_state_folder(
    client: Client, settings: Any, tmp_path: Path, keep: Keep
) -> None:
    keep(healthy(NOW))
    settings.CACHES = {
        "shared": {
            "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
            "LOCATION": str(tmp_path / "cache"),
        }
    }
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "STATUS_CACHE": "shared"}
    assert "There is nothing in the cache &#x27;shared&#x27; yet." in shown(client)
    assert keep_status(get_config(), troubled(NOW)) == []
    status_file(get_config()).unlink()  # the web processes may run where this folder does not exist
    assert "Shown from the cache &#x27;shared&#x27;." in shown(client)


def test_storage_that_is_down_leaves_the_last_known_state(client: Client, keep: Keep) -> None:
    keep(replace(healthy(NOW), problem="The bucket does not answer.", problem_at=NOW))
    text = shown(client)
    assert "Not all is well: the storage." in text
    assert "The bucket does not answer." in text
    assert "database default of web-1" in text


def test_work_is_shown_while_it_runs_and_when_it_has_ended(client: Client, keep: Keep) -> None:
    keep(healthy(NOW))
    now = datetime.now(UTC)  # a worker may have imported this module long ago
    running = Work(
        host="web-1",
        what="a backup",
        since=now - timedelta(hours=3),
        reported=now,
        step="files <b>uploads</b>",
        done=1_200_000_000,
        total=2_800_000_000,
        files=51_200,
        rate=40_000_000,
    )
    silent = replace(running, host="web-2", reported=now - timedelta(hours=1))
    failed = replace(running, what="a drill", ended=now, error="IdentityError")
    done = replace(running, what="a prune", ended=now)
    assert keep_activity(get_config(), Activity(schema=1, works=(running, silent, failed, done))) == []
    text = shown(client)
    assert "A backup on web-1 has been running for 3 hours; it reported" in text
    assert "files &lt;b&gt;uploads&lt;/b&gt;" in text
    assert "42 % 1.2 GB of about 2.8 GB, 51200 files, 40.0 MB/s, about 40 seconds left" in text
    assert "A backup on web-2 has not reported for 1 hour. Its process was killed" in text
    assert "A drill on web-1 failed" in text and "(IdentityError) Do:" in text
    assert "A prune on web-1 ended" in text
    assert "Work of the last day" in shown(client, f"{backup_id(0, NOW)}/")


def test_old_status_is_not_taken_for_the_present_one(client: Client, keep: Keep) -> None:
    keep(healthy(NOW - timedelta(days=3)))
    text = shown(client)
    assert "Not all is well: this page, database default of web-1" in text
    assert "nobody knows whether backups were made since" in text


def test_many_backups_are_listed_page_by_page(client: Client, keep: Keep) -> None:
    keep(healthy(NOW, nights=250))
    assert "Page 1 of 3" in shown(client, "all/")
    assert f"{backup_id(249, NOW)}" in shown(client, "all/?page=3")
    assert "250 backups" in shown(client)


def test_model_needs_no_migration() -> None:
    call_command("makemigrations", "--check", "--dry-run", stdout=StringIO())


def test_page_carries_nothing_inline(client: Client, keep: Keep) -> None:
    keep(troubled(NOW))
    for address in ("", "all/", f"{backup_id(0, NOW)}/", f"run/{backup_id(0, NOW)}/"):
        main = client.get(PAGE + address).content.decode().partition("<main")[2].partition("</main>")[0]
        assert not re.search(r"<script|<style|\sstyle=|\son\w+=|javascript:|https?://", main)
