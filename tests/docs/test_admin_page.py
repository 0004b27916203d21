"""The page about the page in the admin, and the format of the status document."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from project.security import POLICY

from igny8_backup.conf import get_config
from igny8_backup.formats import records
from igny8_backup.formats.documents import status
from igny8_backup.operations.status.keep import cache_key, keep_status, status_file
from tests.docs.pages import blocks, page, section
from tests.web.statuses import troubled

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

FORMAT = page("reference/status-document")
FORMATS = FORMAT + page("reference/activity-document")
RECORDS = [
    value for value in vars(status).values() if isinstance(value, type) and dataclasses.is_dataclass(value)
]


@pytest.mark.parametrize("kind", RECORDS, ids=[kind.__name__ for kind in RECORDS])
def test_format_page_lists_every_field(kind: type[DataclassInstance]) -> None:
    rows = re.findall(r"^\| `(\w+)`( \*)? \|", section(FORMATS, f"## {kind.__name__}"), re.MULTILINE)
    required = {
        field.name: field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        for field in dataclasses.fields(kind)
    }
    assert {name: bool(star) for name, star in rows} == required


def test_format_page_shows_how_to_read_the_file(settings: Any, tmp_path: Any) -> None:
    settings.IGNY8_BACKUP = {"STATE_DIR": tmp_path / "state"}
    keep_status(get_config(), troubled())
    (command,) = blocks(FORMAT, "console")
    done = subprocess.run(
        ["sh", "-c", command.removeprefix("$ python").strip().join(["exec " + sys.executable + " ", ""])],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout) == records.to_plain(troubled())
    assert status_file(get_config()).stat().st_mode & 0o777 == 0o600


def test_format_page_explains_the_key_of_the_cache(settings: Any) -> None:
    settings.IGNY8_BACKUP = {"ENVIRONMENT": "production", "PREFIX": "igny8/"}
    key = cache_key(get_config())
    assert re.fullmatch(r"igny8_backup\.status\.[0-9a-f]{16}", key)
    assert "`igny8_backup.status.` and the\n  first 16 hexadecimal digits of the SHA-256" in FORMAT


def test_page_shows_the_policy_of_the_test_project() -> None:
    (shown,) = blocks(page("how-to/admin-page"), "text")
    assert shown.strip() in POLICY
