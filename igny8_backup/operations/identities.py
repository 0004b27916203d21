"""Find the age identities (private keys) that a command decrypts with."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path

from igny8_backup.conf import Config
from igny8_backup.errors import IdentityError
from igny8_backup.streams.age import Identity, load_identities


def find_identities(config: Config, chosen: Path | None, *, needed: bool) -> list[Identity]:
    """Load the identities from the file ``chosen``; if it is ``None``, from the setting ``IDENTITY_FILE``.

    If there is no such setting either, returns an empty list; raises :class:`IdentityError` instead if an
    identity is ``needed``.
    """
    encryption = config.encryption
    path = chosen or (encryption.identity_file if encryption else None)
    if path:
        return load_identities(path, ask_passphrase)
    if needed:
        what = "The backup is encrypted and no identity is given."
        hint = "Give the file that generate_backup_key wrote: --identity FILE."
        raise IdentityError(what, unchanged="Nothing was changed.", hint=hint)
    return []


def ask_passphrase(name: str) -> str | None:
    """Ask for the passphrase of the identity file ``name``; return ``None`` if there is no terminal."""
    if not sys.stdin.isatty():
        return None
    try:
        return getpass.getpass(f"Passphrase of {name}: ")
    except EOFError:
        return None
