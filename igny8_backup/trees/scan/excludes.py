"""Exclude paths from a backup: patterns as in a ``.gitignore``, and folders tagged as caches.

This is the only module that uses ``pathspec``, which turns each pattern into a regular expression. Importing
``pathspec`` takes half as long as all other imports of a worker together, so only a process that compiles
patterns imports it. As in git (gitignore(5)), a walk never enters an excluded folder. Therefore each path is
matched by itself: the folders above it were matched before.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

CACHES = ("__pycache__/", ".cache/", ".sass-cache/")
"""Folders whose contents can be generated again by the programs that made them."""

CACHE_TAG = b"CACHEDIR.TAG"
CACHE_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"
"""First bytes of a cache tag (Cache Directory Tagging Specification, https://bford.info/cachedir/)."""

MAX_STARS = 4
"""Largest number of stars in a pattern; ``**`` for folders counts as one star.

A user who uploads a file can choose its name. With more stars, it could take hours to match a single name of
255 bytes.
"""


class _Rule(NamedTuple):
    """A compiled pattern of paths, from the settings.

    ``matches`` returns a true value for a path that the pattern matches. ``excludes`` is true if the pattern
    excludes these paths, and false if it begins with ``!`` and includes them again. ``whole_path`` is true if
    the pattern has a slash inside, and so is matched against the complete path. Other patterns are matched
    against the last component of a path, which is faster.
    """

    matches: Callable[[str], object]
    excludes: bool
    whole_path: bool


class Excludes:
    """Patterns that exclude paths.

    If several patterns match a path, the last of them decides. A pattern that begins with ``!`` includes the
    path again. Raises ``ValueError`` for a malformed pattern. Can be pickled, for the scanner process.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._folders: list[_Rule] = []
        self._files: list[_Rule] = []
        for text in patterns:
            rule = _compiled(text)
            # Last first. A pattern that ends with a slash matches folders only.
            self._folders.insert(0, rule)
            if not text.rstrip().endswith("/"):
                self._files.insert(0, rule)

    def __call__(self, path: bytes, is_folder: bool) -> bool:
        """Return whether ``path`` is excluded, provided that no folder above it is excluded."""
        rules = self._folders if is_folder else self._files
        if not rules:
            return False
        text = os.fsdecode(path)
        name = text[text.rfind("/") + 1 :]
        if is_folder:
            text, name = text + "/", name + "/"
        for rule in rules:
            if rule.matches(text if rule.whole_path else name):
                return rule.excludes
        return False


def problem(pattern: str) -> str:
    """Return what is wrong with a pattern of excluded paths, or ``""`` if it is valid."""
    try:
        _compiled(pattern)
    except ValueError as error:
        return str(error)
    return ""


def is_cache_tag(name: bytes, folder: int) -> bool:
    """Return whether the file ``name`` in the open ``folder`` is a tag that marks the folder as a cache.

    The result is False for a file that cannot be read.
    """
    try:
        # O_NONBLOCK: opening a FIFO must not hang.
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        try:
            return os.read(fd, len(CACHE_SIGNATURE)) == CACHE_SIGNATURE
        finally:
            os.close(fd)
    except OSError:
        return False


def _compiled(text: str) -> _Rule:
    if "\0" in text or "\n" in text:
        raise ValueError("it contains a NUL or a newline")
    if sum(1 if part == "**" else part.count("*") for part in text.split("/")) > MAX_STARS:
        raise ValueError(f"it has more than {MAX_STARS} stars")
    if text.rstrip().endswith("**/"):
        raise ValueError("it ends with **/: write ** without the slash")  # pathspec and git differ here
    from pathspec.patterns.gitignore import GitIgnorePatternError
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    try:
        pattern = GitIgnoreSpecPattern(text)
    except (GitIgnorePatternError, re.error) as error:
        raise ValueError(f"it cannot be read: {error}") from None
    if pattern.include is None or pattern.regex is None or not text.strip("/ "):
        raise ValueError("it matches nothing")
    return _Rule(_matcher(pattern.regex), pattern.include, "/" in text.rstrip().rstrip("/"))


def _matcher(regex: re.Pattern[str]) -> Callable[[str], object]:
    # The expressions of pathspec also match paths below an excluded folder. Here they must match the complete
    # text, with its slash. Exceptions are "*" and "folder/**", which match a beginning, but not the folder.
    if not regex.groups:
        return partial(_match_beginning, regex)
    if regex.pattern.startswith("^"):
        return regex.fullmatch
    return re.compile(f"(?s:.*){regex.pattern}").fullmatch  # "*/": any folder


def _match_beginning(regex: re.Pattern[str], text: str) -> object:
    return regex.match(text.removesuffix("/"))
