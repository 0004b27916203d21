"""The page on spot checks: the command prints what it shows, with a real database."""

from __future__ import annotations

from tests.docs.output import as_on_the_page, commands_shown, skeleton
from tests.docs.pages import blocks, page
from tests.management.commands import run_many
from tests.management.conftest import BackedUp


def sentences(text: str) -> list[str]:
    """Return the lines without what depends on how often the tree was looked at, and by which tests."""
    lines = skeleton(text.replace("has changed", "have changed"))
    return [line for line in lines if "unchanged file" not in line]


def test_spot_check_shows_what_the_page_shows(backed_up: BackedUp) -> None:
    (shown, *_) = blocks(page("how-to/spot-check"), "console")
    ((argv, output),) = commands_shown(shown)
    done, as_json = run_many(backed_up.project, argv, [*argv, "--json"])
    printed = as_on_the_page(done.ended(0).output, backed_up.project)
    assert sentences(printed) == sentences(output), printed
    found = as_json.ended(0).json
    assert found["complete"] and [part["name"] for part in found["parts"]] == [
        "default",
        "sites-data",
        "uploads",
    ]
