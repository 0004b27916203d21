"""Read the pages of the documentation, their sections, fenced blocks and tables."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
_FENCE = re.compile(r"^```(?P<language>[\w-]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def page(name: str) -> str:
    """Return the text of a page, ``how-to/keys`` for docs/how-to/keys.md."""
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def pages(prefix: str) -> str:
    """Return the text of every page whose path begins with ``prefix``, in the order of their names."""
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(DOCS.glob(f"{prefix}*.md")))


def messages() -> str:
    """Return the text of the pages that show messages."""
    return pages("reference/messages")


def settings_pages() -> str:
    """Return the text of the page "Settings" and of the five pages that describe the keys."""
    return page("reference/settings") + pages("reference/settings-")


def blocks(text: str, language: str) -> list[str]:
    """Return the contents of the fenced blocks in that language, in order."""
    return [found["text"] for found in _FENCE.finditer(text) if found["language"] == language]


def section(text: str, heading: str) -> str:
    """Return the text below a heading (given with its ``#``), up to the next heading of its level."""
    level = len(heading) - len(heading.lstrip("#"))
    found = re.search(
        rf"^{re.escape(heading)}$\n(.*?)(?=^#{{1,{level}}} |\Z)", text, re.MULTILINE | re.DOTALL
    )
    if found is None:
        raise AssertionError(f"There is no heading {heading!r}.")
    return found[1]


def code_cells(text: str) -> list[list[str]]:
    """Return the code spans in the first cell of each row of the tables."""
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [re.findall(r"`([^`]+)`", re.split(r"(?<!\\)\|", row)[1]) for row in rows]
    return [cell for cell in cells if cell]


_VARIABLE = (
    (r"\d{8}T\d{6}Z-[0-9a-f]{6}", "ID"),
    (r"age1[0-9a-z]+", "RECIPIENT"),
    (r"igny8@[\w.]+:\d+", "SERVER"),
    (r"project_[0-9a-f]{12}|(?<=SERVER/)\w+", "DATABASE"),
    (r"(?<=the bucket )\S+ at \S+", "BUCKET"),
    (r"(?<![\w/])(/[\w.+-]*\w)+", "PATH"),
    (r"\b\d[\d.]* [kMGT]?B\b", "SIZE"),
    (r"\b\d+ (second|minute|hour|day)s?( \d+ (second|minute)s?)?\b", "TIME"),
    (r"\b\d[\d.:+T-]*\d\b|\b\d\b", "NUMBER"),
)


def without_variables(message: str) -> str:
    """Replace ids, keys, servers, databases, paths, times and numbers in a message by their kinds."""
    for pattern, name in _VARIABLE:
        message = re.sub(pattern, name, message)
    return message


def assert_shown(output: str) -> None:
    """Fail the test unless a page of messages shows these lines of the output."""
    lines = without_variables(output).splitlines()
    shown = [without_variables(block).splitlines() for block in blocks(messages(), "text")]
    assert any(
        block == lines[start : start + len(block)] for block in shown for start in range(len(lines))
    ), f"No page of docs/reference/messages*.md shows this output:\n{output}"
