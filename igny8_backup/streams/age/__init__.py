"""Encrypt and decrypt with age: files of the format age-encryption.org/v1, which ``age -d`` opens.

A recipient is public and encrypts: an age key (``age1...``), an SSH key (``ssh-ed25519 ...``), or the key of
a plugin (``age1yubikey1...``). An identity is secret and decrypts. No message and no ``repr`` contains an
identity.

``cipher`` encrypts and decrypts streams. ``recipients`` and ``identities`` read the two kinds of keys.
``header`` works on the header of a file without decrypting its data: it finds out whether an identity opens
the file, and changes the recipients. It uses ``stanzas`` (the text of a header) and ``file_key`` (the key of
a file).
"""

from __future__ import annotations

from igny8_backup.streams.age.cipher import decrypt, encrypt
from igny8_backup.streams.age.file_key import require_rotatable
from igny8_backup.streams.age.header import opens, rewrap
from igny8_backup.streams.age.identities import (
    Identity,
    generate_identity,
    load_identities,
    parse_identities,
    protect_identity,
)
from igny8_backup.streams.age.recipients import parse_recipients

__all__ = [
    "Identity",
    "decrypt",
    "encrypt",
    "generate_identity",
    "load_identities",
    "opens",
    "parse_identities",
    "parse_recipients",
    "protect_identity",
    "require_rotatable",
    "rewrap",
]
