"""docs/reference/messages*.md shows only text that the software prints.

Each block must consist of string literals of the source (with any text in their placeholders), of texts of
PostgreSQL, the system and others, and of values such as names, paths, ids and numbers. The last two are
listed here. Tests that provoke a failure check the whole message with ``tests.docs.pages.assert_shown``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from tests.docs.pages import DOCS, ROOT, blocks, messages

LETTERS = 6
"""The minimum number of letters: shorter texts match by chance."""

SAID_BY_OTHERS = (
    'pg_dump: error: Dumping the contents of table "upload" failed: PQgetResult() failed.',
    "pg_dump: detail: Error message from server: ERROR: invalid memory alloc request size",
    "pg_dump: detail: Command was: COPY public.upload (id, content) TO stdout;",
    # PostgreSQL, its client programs and libpq
    'connection failed: connection to server at "127.0.0.1", port ',
    "Is the server running on that host and accepting TCP/IP connections",
    'FATAL: password authentication failed for user "igny8"',
    "FATAL: remaining connection slots are reserved for roles with the SUPERUSER attribute",
    'FATAL: permission denied for database "postgres" DETAIL: User does not have CONNECT privilege.',
    'pg_restore: error: connection to server at "127.0.0.1", port ',
    'pg_dump: error: query failed: ERROR: query would be affected by row-level security policy for table "'
    'content_article"',
    'FATAL: no pg_hba.conf entry for host "127.0.0.1", user "igny8", database "postgres", no encryption.',
    "out of shared memory.",
    "pg_dump: error: query failed: ERROR: permission denied for table content_article.",
    "terminating connection due to administrator command.",
    # the system
    "Connection refused",
    "No space left on device",
    "No such file or directory",
    "Permission denied",
    # boto3, pyrage, Docker
    "SignatureDoesNotMatch",
    "InsufficientStorage",
    "no such service: beat",
    # Django
    "CommandError: ",
)
SHORT = ("A lock on ", ", role ", "list", ", under ", ".publish on ")
"""Short texts of the source that are needed as well."""
VALUES = (
    r"age1\w{58}",
    r"CVE-\d+-\d+",
    r"igny8@[\w:/]+",
    r"(?<![\w/])[\w.-]*(/[\w.-]+)+",
    r"'(default|nosuch|20201122T021500Z-7f3a9c)'",
    r'"(igny8|postgres|billing)"',
    r"\b\d[\d.:+T-]*( [kMG]?B\b| (day|minute|second)s?\b)?",
    r"\d{8}T\d{6}Z-[0-9a-f]{6}",
    r"\b(igny8-backups|igny8|nosuchbucket|default|uploads|sites-data|Renaming|vector)\b",
    r"\b(public\.upload|the column content)\b",
    r"\b(content_article|content\.0042_summary|public\.accounts_(account|membership)|nightly report)\b",
    r"\b(celery@web-1|publishing\.publish|docker|SIGKILL|SIGTERM)\b|\(Debian [^)]*\)",
    r"(?<=Cannot )read\b|(?<=\.json )in\b",  # too short for a text of the source
)
"""Values in messages."""


def texts() -> Iterator[tuple[str | None, ...]]:
    """Yield each string of the source as its literal pieces, with ``None`` for placeholders."""
    for path in (ROOT / "igny8_backup").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        parts = {
            id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values
        }
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if id(node) in parts | docstrings:
                continue
            if isinstance(node, ast.JoinedStr):
                yield tuple(
                    str(part.value) if isinstance(part, ast.Constant) else None for part in node.values
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield tuple(
                    None if piece[:1] == "{" else piece for piece in re.split(r"(\{\w+\})", node.value)
                )


@cache
def known_texts() -> set[tuple[str | None, ...]]:
    """Return the texts of the source that are long enough, and the listed ones."""
    found = {pieces for pieces in texts() if _letters(pieces) >= LETTERS}
    found |= {(text,) for text in (*SHORT, *SAID_BY_OTHERS)}
    return {tuple(piece and _one_line(piece) for piece in pieces) for pieces in found}


def _letters(pieces: tuple[str | None, ...]) -> int:
    return sum(letter.isalpha() for piece in pieces for letter in piece or "")


def patterns(message: str) -> Iterator[re.Pattern[str]]:
    """Yield patterns for the known texts and values in a message; the literal pieces are groups."""
    lower = message.lower()
    for pieces in known_texts():
        if all(piece is None or piece.lower() in lower for piece in pieces):
            # A literal of the source may become the beginning of a sentence.
            filled = (".{1,250}?" if piece is None else f"({re.escape(piece)})" for piece in pieces)
            yield re.compile("".join(filled), re.IGNORECASE)
    yield from (re.compile(f"({value})") for value in VALUES)


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def unexplained(message: str) -> str:
    """Return the message without everything that a known text or value explains."""
    text = _one_line(message)
    known = bytearray(len(text))
    for pattern in patterns(text):
        for match in pattern.finditer(text):
            for group in range(1, len(match.groups()) + 1):
                start, end = match.span(group)
                known[start:end] = b"1" * (end - start)
    return "".join(" " if done else letter for letter, done in zip(text, known, strict=True))


SHOWN = blocks(messages(), "text")


@pytest.mark.parametrize("message", SHOWN, ids=range(len(SHOWN)))
def test_messages_page_shows_only_text_from_the_source(message: str) -> None:
    assert re.findall(r"\w[\w ]*", unexplained(message)) == []


OTHER_PAGES = [path for path in DOCS.rglob("*.md") if not path.name.startswith("messages")]
QUOTED = [
    line + " "
    for path in sorted(OTHER_PAGES)
    for block in blocks(path.read_text(encoding="utf-8"), "console")
    for line in block.splitlines()
    if re.match(r" *(CommandError|NOTE): ", line) and not line.endswith(" here:")
]
"""Errors and notes that other pages show. The list of blockers is in the pages of messages."""


@pytest.mark.parametrize("line", sorted(set(QUOTED)))
def test_page_quotes_only_errors_and_notes_from_the_source(line: str) -> None:
    # The program inserts "after" and "tasks"; "key" ends a file name.
    assert set(re.findall(r"[A-Za-z]{3,}", unexplained(line))) <= {"NOTE", "after", "key", "tasks"}


def test_messages_page_contains_every_listed_text() -> None:
    said = _one_line(" ".join(SHOWN))
    assert [text for text in (*SAID_BY_OTHERS, *SHORT) if text not in said] == []
    assert [value for value in VALUES if not re.search(value, said)] == []


def test_unexplained_text_is_detected() -> None:
    message = "The backup is encrypted and no identity is given. Nothing was changed."
    assert unexplained(message).strip() == ""
    assert "in cipher" in unexplained(message.replace("encrypted", "in cipher"))
    assert "was lost" in unexplained(message.replace("was changed", "was lost"))
