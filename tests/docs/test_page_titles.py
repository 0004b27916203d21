"""Messages of the package name pages of the documentation by their titles, which must exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import DOCS

PACKAGE = DOCS.parent / "igny8_backup"
NAMED = re.compile(r'"([^"\n]+)"\s+(?:in|of)\s+the\s+(documentation|changelog)')
PATH = re.compile(r"\bdocs/|\b[\w-]+\.(?:md|rst)\b")


def texts(file: Path) -> Iterator[str]:
    """Yield the texts in a module, with "{}" for each expression in an f-string."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
            yield "".join(map(str, parts))


def headings(file: Path, level: str) -> set[str]:
    return set(re.findall(rf"^{level} (.+)$", file.read_text(), re.M))


@pytest.mark.slow
def test_pages_that_messages_and_docstrings_name_exist() -> None:
    found = [(file, text) for file in PACKAGE.rglob("*.py") for text in texts(file)]
    found += [(file, file.read_text()) for file in PACKAGE.rglob("*.html")]
    named = {(match[1], match[2], file.name) for file, text in found for match in NAMED.finditer(text)}
    assert len(named) > 20, "the pattern fits the messages"
    titles = {
        "documentation": {title for page in DOCS.rglob("*.md") for title in headings(page, "#")},
        "changelog": headings(DOCS.parent / "CHANGELOG.md", "###"),
    }
    titles["documentation"].add("{}")  # the page about checks, by their kind
    assert [item for item in sorted(named) if item[0] not in titles[item[1]]] == []
    assert [(file.name, text) for file, text in found if PATH.search(text)] == [], (
        "the wheel lacks these files"
    )
