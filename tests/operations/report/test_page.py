"""The HTML page of a report."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

from igny8_backup.operations.report.page import render
from tests.docs.pages import page
from tests.operations.report.made import made

HOSTILE = "<script>alert('1')</script>\x1b[2J"


class Elements(HTMLParser):
    """The elements and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


def test_page_is_self_contained_and_shows_markup_as_text() -> None:
    elements = Elements(render(made(host="web-1", database="default", tree="uploads", free=HOSTILE)))
    for tag, attributes in elements.found:
        assert tag not in ("script", "link", "img", "iframe", "object", "form")
        assert not {"src", "href", "style", "onclick"} & attributes.keys()
    assert "<script>alert('1')</script>\\x1b[2J" in elements.text and "\x1b" not in elements.text
    assert [tag for tag, _ in elements.found].count("h1") == 1
    assert ("html", {"lang": "en"}) in elements.found
    assert any(attributes.get("scope") == "col" for _, attributes in elements.found)


def test_page_has_the_sections_that_the_documentation_lists() -> None:
    shown = render(made(host="web-1", database="default", tree="uploads", free="a"))
    rows = [row.split("|")[1].strip() for row in page("how-to/report").splitlines() if row.startswith("| ")]
    assert re.findall("<h2>(.*?)</h2>", shown) == rows[1:]


def test_page_shows_the_evidence() -> None:
    report = made(host="web-1", database="default", tree="uploads", free="a")
    text = " ".join(Elements(render(report)).text.split())
    for expected in (
        "4 of 12 conditions are not met: see Findings.",
        "database default of web-1",
        "12 minutes 34 seconds",
        "2026-11-13 01:15 2026-11-17 01:15 4 days",
        "Keep: daily 14",
        "SHA256:def revoked",
        "uploads: failed; uploads: damaged",
        "uploads (FilesError)",
        "drill 2026-11-21 01:15",
    ):
        assert expected in text, text
    well = render(replace(report, findings=(), failed_runs=(), checks=()))
    assert "All 12 conditions that were checked are met." in well
    assert "Every run ended completely." in well and "Nothing was verified or drilled" in well
