"""The page "Checks" has a section for every check, which its hint names, and no other."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import igny8_backup
from tests.docs.pages import page, section

PACKAGE = Path(igny8_backup.__file__).parent
ID = re.compile(r'"(?:igny8_backup\.)?([EW]\d{3})"')


def test_checks_page_has_one_section_for_each_id() -> None:
    written = {number for path in PACKAGE.rglob("*.py") for number in ID.findall(path.read_text())}
    sections = Counter(re.findall(r"^### (.*)$", page("reference/checks"), re.MULTILINE))
    # The anchor of a heading is its text in lower case, so each id must be a heading once.
    assert sections == Counter(written)
    assert len(written) >= 30


def test_checks_page_sections_say_what_is_wrong_and_what_to_do() -> None:
    text = page("reference/checks")
    for heading in re.findall(r"^### .*$", text, re.MULTILINE):
        wrong, _, mended = section(text, heading).partition("\n**Do:** ")
        assert wrong.strip() and mended.strip(), heading


def test_checks_module_docstrings_name_every_id() -> None:
    """Each docstring names ids, or ranges of ids."""
    first_lines = re.findall(r'"""Return ([EW]\d{3}.*)', (PACKAGE / "checks.py").read_text())
    numbers = set()
    for first, last in re.findall(r"([EW]\d{3})(?: to ([EW]\d{3}))?", " ".join(first_lines)):
        numbers |= {f"{first[0]}{n:03}" for n in range(int(first[1:]), int((last or first)[1:]) + 1)}
    assert numbers == set(re.findall(r"^### (.*)$", page("reference/checks"), re.MULTILINE))
