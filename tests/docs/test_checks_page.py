"""docs/reference/checks.md has a section for every check, where its hint points, and for no other."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import igny8_backup
from tests.docs.pages import page, section

PACKAGE = Path(igny8_backup.__file__).parent
ID = re.compile(r'"(?:igny8_backup\.)?([EW]\d{3})"')


def test_every_check_has_its_section_and_no_other() -> None:
    written = {number for path in PACKAGE.rglob("*.py") for number in ID.findall(path.read_text())}
    sections = Counter(re.findall(r"^### (.*)$", page("reference/checks"), re.MULTILINE))
    # The anchor of a heading is its text in lower case: once, and of nothing else.
    assert sections == Counter(written)
    assert len(written) >= 30


def test_every_section_says_what_is_wrong_and_what_to_do() -> None:
    text = page("reference/checks")
    for heading in re.findall(r"^### .*$", text, re.MULTILINE):
        wrong, _, mended = section(text, heading).partition("\n**Do:** ")
        assert wrong.strip() and mended.strip(), heading


def test_the_ids_that_checks_py_tells_of_are_those_that_there_are() -> None:
    """Its docstrings name each id, or the range that it lies in."""
    told = re.findall(r'"""([EW]\d{3}[^:]*): ', (PACKAGE / "checks.py").read_text())
    numbers = set()
    for part in ", ".join(told).split(", "):
        first, _, last = part.partition(" to ")
        numbers |= {f"{first[0]}{n:03}" for n in range(int(first[1:]), int((last or first)[1:]) + 1)}
    assert numbers == set(re.findall(r"^### (.*)$", page("reference/checks"), re.MULTILINE))
