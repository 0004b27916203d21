"""Read a private SSH key as an age identity: Ed25519 or RSA, with or without a passphrase."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyrage
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
)
from pyrage import ssh

from igny8_backup.errors import IdentityError

_OPENSSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"


def is_ssh_key(content: bytes) -> bool:
    """Return whether a file contains a private key in the format of OpenSSH or PEM."""
    first = content.lstrip().partition(b"\n")[0].strip()
    return first.startswith(b"-----BEGIN ") and first.endswith(b"PRIVATE KEY-----")


def load(content: bytes, name: str, ask: Callable[[], str | None]) -> tuple[Any, str, Any]:
    """Read the private key in ``content``; return pyrage's identity, the public and the private key.

    ``ask`` is called for the passphrase of the key; it returns ``None`` if there is nobody to ask. Raises
    ``IdentityError``, whose message names the file ``name``.
    """
    try:
        try:
            key = _load(content, None)
        except TypeError:  # the key has a passphrase
            secret = ask()
            if secret is None:
                hint = "Run the command on a terminal, which asks for it."
                raise _error(f"The SSH key {name} has a passphrase.", hint) from None
            key = _load(content, secret.encode())
        if not isinstance(key, (Ed25519PrivateKey, RSAPrivateKey)):
            raise ValueError
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        plain = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        return ssh.Identity.from_buffer(plain), public, key
    except UnsupportedAlgorithm as error:
        hint = "For a key with a passphrase, install the Python package bcrypt."
        raise _error(f"The SSH key {name} cannot be read: {error}.", hint) from None
    except (ValueError, pyrage.IdentityError):
        raise _error(
            f"{name} is no private SSH key of the type ssh-ed25519 or ssh-rsa, or its passphrase differs.",
            "Give the private key that belongs to the recipient in the settings.",
        ) from None


def _load(content: bytes, secret: bytes | None) -> Any:
    load = load_ssh_private_key if content.lstrip().startswith(_OPENSSH) else load_pem_private_key
    return load(content, password=secret)


def _error(what: str, hint: str) -> IdentityError:
    return IdentityError(what, unchanged="Nothing was changed.", hint=hint)
