"""A report without names."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from igny8_backup.formats import records
from igny8_backup.operations.report.page import render
from igny8_backup.operations.report.redact import REMOVED, redact
from tests.operations.report.made import made

# Capitals followed by a digit occur nowhere else in a report.
NAMES = st.text(string.ascii_uppercase, min_size=6, max_size=12).map(lambda text: f"{text}7")


@given(st.lists(NAMES, min_size=5, max_size=5))
def test_redact_leaves_no_name_in_json_or_html(names: list[str]) -> None:
    host, database, tree, free, gone = names
    report = made(host=host, database=database, tree=tree, free=free, gone=gone)
    for name in names:
        assert name in records.to_json(report).decode()
    redacted = redact(report)
    for text in (records.to_json(redacted).decode(), render(redacted)):
        assert not any(name in text for name in names)


def test_redact_gives_each_name_the_same_number_everywhere() -> None:
    report = redact(made(host="web-1", database="default", tree="uploads", free="x"))
    assert report.redacted
    assert (report.parts[0].part.host, report.parts[0].part.name) == ("host-1", "database-1")
    assert [copy.name for copy in report.backups[0].copies] == ["database-1", "tree-1"]
    assert report.checks[0].parts == ("database-1", "tree-1")
    assert report.failed_runs[0].requested == ("database-1", "tree-1", "part-1")
    assert report.failed_runs[0].errors == {"tree-1": "FilesError"}
    about = [item.of for item in report.findings]
    assert about == ["database database-1 of host-1", "host host-1", "all backups", REMOVED]
    assert report.backups[0].id and report.keys[0].fingerprint == "SHA256:abc"
