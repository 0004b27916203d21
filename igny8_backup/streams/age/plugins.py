"""Use keys of age plugins, for example keys on a hardware token.

The program ``age-plugin-NAME``, which must be on the ``PATH``, encrypts and decrypts the key of each file.
Source: age-plugin of the C2SP specifications.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyrage
from pyrage import plugin

from igny8_backup.errors import BackupError, IdentityError, UsageError

_COMM = 15
"""The kernel keeps this many bytes of the name of a program."""


class _NoAnswers:
    """The callbacks for a plugin's questions and messages. They answer nothing and show nothing.

    Backups run unattended, so nobody could answer.
    """

    def display_message(self, message: str) -> None:
        return None

    def confirm(self, message: str, yes: str, no: str | None) -> bool | None:
        return None

    def request_public_string(self, description: str) -> str | None:
        return None

    def request_passphrase(self, description: str) -> str | None:
        return None


_used: set[str] = set()
"""The names of the plugin programs that this process has perhaps started."""


def make_recipient(text: str, place: str) -> Any:
    """Return a recipient of pyrage for the public key ``text``.

    Raises ``UsageError`` if the key is mistyped or its plugin is not installed. ``place`` says in the
    message where the key is: ``recipient 1 of 2``.
    """
    try:
        key = plugin.Recipient.from_str(text)
    except pyrage.RecipientError:
        raise UsageError(
            f"{text}, {place}, is not a valid recipient of a plugin: it is mistyped or incomplete."
        ) from None
    name = key.plugin()
    _require_program(name, place, UsageError)
    return plugin.RecipientPluginV1(name, [key], [], _NoAnswers())


def make_identity(text: str, place: str) -> tuple[Any, str]:
    """Return an identity of pyrage for a line ``AGE-PLUGIN-...``, and the name of its plugin's program.

    Raises ``ValueError`` if the line is mistyped, ``IdentityError`` if the plugin is not installed. ``place``
    says in the message where the line is: its file and its number.
    """
    try:
        key = plugin.Identity.from_str(text)
    except pyrage.IdentityError:
        raise ValueError("it is mistyped") from None
    name = key.plugin()
    program = _require_program(name, place, IdentityError)
    return plugin.IdentityPluginV1(name, [key], _NoAnswers()), program


def reap() -> None:
    """Reap the plugin processes that this process has started. pyrage does not reap them.

    Without this call, each object of a long backup would leave a zombie in the process table.
    """
    names = {program.encode()[:_COMM] for program in _used}
    for child in _children() if names else ():
        with suppress(OSError):
            # "PID (NAME) STATE ..."; the plugin ends as soon as the library has closed its pipe.
            name = Path(f"/proc/{child}/stat").read_bytes().partition(b"(")[2].rpartition(b")")[0]
            if name in names:
                os.waitpid(child, 0)


def _children() -> list[int]:
    """Return the process ids of the children of this process; none if the kernel does not list them."""
    found: list[int] = []
    for path in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, path.read_text().split())
    return found


def _require_program(name: str, place: str, kind: type[BackupError]) -> str:
    program = f"age-plugin-{name}"
    if shutil.which(program) is None:
        raise kind(
            f"The program {program}, which {place} needs, is not installed or not on the PATH.",
            unchanged="Nothing was changed.",
            hint=f"Install {program} for the user who runs this command.",
        )
    _used.add(program)
    return program
