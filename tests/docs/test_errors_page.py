"""docs/reference/messages*.md shows what the software says: no word of a message there is without its origin.

Each block must be made up of the texts of the source (what an f-string or ``format`` fills in may be
anything), of what PostgreSQL, the system and others say, and of values: names, paths, ids, numbers. Both are
listed here. That the texts come together as shown is proven where the failure is provoked, by
``tests.docs.pages.assert_shown``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from tests.docs.pages import ROOT, blocks, messages

LETTERS = 6
"""A text with fewer is found by chance."""

SAID_BY_OTHERS = (
    # PostgreSQL, its client programs and libpq
    'connection failed: connection to server at "127.0.0.1", port ',
    "Is the server running on that host and accepting TCP/IP connections",
    'FATAL: password authentication failed for user "igny8"',
    "FATAL: remaining connection slots are reserved for roles with the SUPERUSER attribute",
    'FATAL: permission denied for database "postgres" DETAIL: User does not have CONNECT privilege.',
    'pg_restore: error: connection to server at "127.0.0.1", port ',
    'pg_dump: error: query failed: ERROR: query would be affected by row-level security policy for table "'
    "content_article\" HINT: To disable the policy for the table's owner, use ALTER TABLE NO FORCE ROW LEVEL"
    " SECURITY.",
    "pg_dump: error: query failed: ERROR: permission denied for table content_article.",
    "terminating connection due to administrator command.",
    # the system
    "Connection refused",
    "No space left on device",
    "No such file or directory",
    "Permission denied",
    # boto3, pyrage, Docker
    "SignatureDoesNotMatch",
    "EndpointConnectionError",
    "ConnectionClosedError",
    "InsufficientStorage",
    "decryption error",
    "no such service: beat",
    # Django
    "CommandError: ",
)
SHORT = ("A lock on ", ", role ", "list", ", under ", ".publish on ")
"""Of the source's texts, those that are short and yet meant; a caller may begin a sentence with one."""
VALUES = (
    r"age1\w{58}",
    r"igny8@[\w:/]+",
    r"(?<![\w/])[\w.-]*(/[\w.-]+)+",
    r"'(default|nosuch|20201122T021500Z-7f3a9c)'",
    r'"(igny8|postgres|billing)"',
    r"\b\d[\d.:+T-]*( [kMG]?B\b| (day|minute|second)s?\b)?",
    r"\d{8}T\d{6}Z-[0-9a-f]{6}",
    r"\b(igny8-backups|igny8|nosuchbucket|default|uploads|sites-data|Renaming|vector)\b",
    r"\b(content_article|content\.0042_summary|public\.accounts_(account|membership)|nightly report)\b",
    r"\b(celery@web-1|publishing\.publish|docker|SIGKILL|SIGTERM)\b|\(Debian [^)]*\)",
)
"""What a message is about."""


def texts() -> Iterator[tuple[str | None, ...]]:
    """The texts in the source, each in its literal pieces, ``None`` where something is filled in."""
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
    """Those of the source that are long enough, and those of others."""
    found = {pieces for pieces in texts() if _letters(pieces) >= LETTERS}
    found |= {(text,) for text in (*SHORT, *SAID_BY_OTHERS)}
    return {tuple(piece and _one_line(piece) for piece in pieces) for pieces in found}


def _letters(pieces: tuple[str | None, ...]) -> int:
    return sum(letter.isalpha() for piece in pieces for letter in piece or "")


def patterns(message: str) -> Iterator[re.Pattern[str]]:
    """What finds the texts that are in a message, and values; the literal pieces are its groups."""
    lower = message.lower()
    for pieces in known_texts():
        if all(piece is None or piece.lower() in lower for piece in pieces):
            # A sentence may begin with what the source has as a part of one.
            filled = (".{1,250}?" if piece is None else f"({re.escape(piece)})" for piece in pieces)
            yield re.compile("".join(filled), re.IGNORECASE)
    yield from (re.compile(f"({value})") for value in VALUES)


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def unexplained(message: str) -> str:
    """The message without all that has an origin."""
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
def test_every_word_of_a_message_has_its_origin(message: str) -> None:
    assert re.findall(r"\w[\w ]*", unexplained(message)) == []


def test_what_is_listed_here_is_on_the_page() -> None:
    said = _one_line(" ".join(SHOWN))
    assert [text for text in (*SAID_BY_OTHERS, *SHORT) if text not in said] == []
    assert [value for value in VALUES if not re.search(value, said)] == []


def test_what_nothing_says_is_seen() -> None:
    message = "The backup is encrypted and no identity is given. Nothing was changed."
    assert unexplained(message).strip() == ""
    assert "in cipher" in unexplained(message.replace("encrypted", "in cipher"))
    assert "was lost" in unexplained(message.replace("was changed", "was lost"))
