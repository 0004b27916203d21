"""What stays out of a backup: patterns as in a ``.gitignore``, and folders tagged as caches.

The one module that knows ``pathspec``, which turns each pattern into a regular expression. They are tried
here, against one name at a time: a walk never enters an excluded folder, so that no path has to be asked
whether a folder above it is excluded. That is also how git sees it (gitignore(5)).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from pathspec.patterns.gitignore import GitIgnorePatternError
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

CACHES = ("__pycache__/", ".cache/", ".sass-cache/")
"""Folders that whoever made them makes again."""

CACHE_TAG = b"CACHEDIR.TAG"
CACHE_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"
"""How a tag begins (Cache Directory Tagging Specification, https://bford.info/cachedir/)."""

MOST_STARS = 4
"""In one pattern, where ``**`` for folders counts once. Whoever may upload files chooses their names: with
more stars a single name of 255 bytes could keep a walk busy for hours."""


class _Rule(NamedTuple):
    """``excludes``: what it says of a name that ``matches``, which is asked of the whole path or, where the
    pattern has no slash but at its end, of the last name of it alone: several times as fast."""

    matches: Callable[[str], object]
    excludes: bool
    whole_path: bool


class Excludes:
    """Patterns, of which the last that matches a name decides; ``!`` before one takes back what others said.

    Raises ``ValueError`` for a pattern that is none (``problem``).
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._folders: list[_Rule] = []
        self._files: list[_Rule] = []
        for text in patterns:
            rule = _compiled(text)
            # Last first. A slash at the end means folders only: no file is held against such a pattern.
            self._folders.insert(0, rule)
            if not text.rstrip().endswith("/"):
                self._files.insert(0, rule)

    def __call__(self, path: bytes, is_folder: bool) -> bool:
        """Whether what lies at ``path`` stays out; the folders above it are taken to be in."""
        rules = self._folders if is_folder else self._files
        if not rules:
            return False
        whole = os.fsdecode(path)
        name = whole[whole.rfind("/") + 1 :]
        if is_folder:
            whole, name = whole + "/", name + "/"
        for rule in rules:
            if rule.matches(whole if rule.whole_path else name):
                return rule.excludes
        return False


def problem(pattern: str) -> str:
    """What is wrong with a pattern; nothing if all is well."""
    try:
        _compiled(pattern)
    except ValueError as error:
        return str(error)
    return ""


def is_cache_tag(name: bytes, folder: int) -> bool:
    """Whether the file ``name`` in the open ``folder`` tags that as a cache. Raises ``OSError``."""
    # O_NONBLOCK: opening a FIFO must not hang.
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    try:
        return os.read(fd, len(CACHE_SIGNATURE)) == CACHE_SIGNATURE
    finally:
        os.close(fd)


def _compiled(text: str) -> _Rule:
    if "\0" in text or "\n" in text:
        raise ValueError("it holds a character that no pattern has")
    if sum(1 if part == "**" else part.count("*") for part in text.split("/")) > MOST_STARS:
        raise ValueError(f"it has more than {MOST_STARS} stars")
    if text.rstrip().endswith("**/"):
        raise ValueError(
            "it ends with **/, write ** without the slash"
        )  # pathspec reads it otherwise than git
    try:
        pattern = GitIgnoreSpecPattern(text)
    except (GitIgnorePatternError, re.error) as error:
        raise ValueError(f"it cannot be read: {error}") from None
    if pattern.include is None or pattern.regex is None or not text.strip("/ "):
        raise ValueError("it matches nothing")
    return _Rule(_matcher(pattern.regex), pattern.include, "/" in text.rstrip().rstrip("/"))


def _matcher(regex: re.Pattern[str]) -> Callable[[str], object]:
    # pathspec lets a name match for the sake of a folder above it; here only the whole of it counts, with its
    # slash. The exceptions are "*" and "folder/**": what begins so matches, but not the folder itself.
    if not regex.groups:
        return lambda text: regex.match(text.removesuffix("/"))
    if regex.pattern.startswith("^"):
        return regex.fullmatch
    return re.compile(f"(?s:.*){regex.pattern}").fullmatch  # "*/": any folder
