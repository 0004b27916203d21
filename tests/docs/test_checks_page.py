"""The pages about checks have a section for every check, and no other."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import igny8_backup
from tests.docs.pages import page, section

PACKAGE = Path(igny8_backup.__file__).parent
ID = re.compile(r'"(?:igny8_backup\.)?([EW]\d{3})"')
HEADING = re.compile(r"^(##+ ([EW]\d{3}))$", re.MULTILINE)
PAGES = {
    "reference/checks": "E",
    "reference/checks-storage": "E",
    "reference/checks-warnings": "W",
    "reference/checks-warnings-storage": "W",
}


def test_checks_page_has_one_section_for_each_id() -> None:
    written = {number for path in PACKAGE.rglob("*.py") for number in ID.findall(path.read_text())}
    sections = Counter(_documented())
    # The anchor of a heading is its text in lower case, so each id must be a heading once.
    assert sections == Counter(written)
    assert len(written) >= 30


def test_checks_page_sections_say_what_is_wrong_and_what_to_do() -> None:
    for name in PAGES:
        for heading, _ in HEADING.findall(page(name)):
            wrong, _, mended = section(page(name), heading).partition("\n**Do:** ")
            assert wrong.strip() and mended.strip(), heading


def test_checks_module_docstrings_name_every_id() -> None:
    """Each docstring names ids, or ranges of ids."""
    first_lines = re.findall(r'"""Return ([EW]\d{3}.*)', (PACKAGE / "checks.py").read_text())
    numbers = set()
    for first, last in re.findall(r"([EW]\d{3})(?: to ([EW]\d{3}))?", " ".join(first_lines)):
        numbers |= {f"{first[0]}{n:03}" for n in range(int(first[1:]), int((last or first)[1:]) + 1)}
    assert numbers == set(_documented())


def _documented() -> list[str]:
    """Return the ids that have a section, each on a page for its kind."""
    found = {name: [number for _, number in HEADING.findall(page(name))] for name in PAGES}
    for name, numbers in found.items():
        assert all(number.startswith(PAGES[name]) for number in numbers), name
    return [number for numbers in found.values() for number in numbers]
