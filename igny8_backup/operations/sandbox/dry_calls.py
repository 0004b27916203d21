"""Let the project's code run up to the point at which it would change something outside its process.

An audit hook of the interpreter sees files that are opened for writing, changes of folders, and programs that
are started. Source: Python documentation, "Audit events table".
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_ACTING = ("subprocess.Popen", "shutil.")
_ACTING_OF_OS = {
    *("mkdir", "rename", "remove", "rmdir", "link", "symlink", "truncate", "chmod", "chown", "utime"),
    *("setxattr", "removexattr", "system", "exec", "fork", "forkpty", "posix_spawn", "spawn", "kill"),
}

_state = {"installed": False, "active": False}


class WouldActError(Exception):
    """The project's code would have written a file or started a program."""


@contextmanager
def without_effects() -> Iterator[None]:
    """Raise :class:`WouldActError` in code that would act on files or processes, in all threads."""
    if not _state["installed"]:
        _state["installed"] = True
        sys.addaudithook(_hook)
    compiled, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    _state["active"] = True
    try:
        yield
    finally:
        _state["active"] = False
        sys.dont_write_bytecode = compiled


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _state["active"] and _acts(event, arguments):
        raise WouldActError(f"{event} is not permitted while a restore is planned")


def _acts(event: str, arguments: tuple[Any, ...]) -> bool:
    if event == "open":
        path, _, flags = arguments
        return isinstance(path, str | bytes) and path != os.devnull and bool(flags & _WRITING)
    module, _, name = event.partition(".")
    return event.startswith(_ACTING) or (module == "os" and name in _ACTING_OF_OS)
