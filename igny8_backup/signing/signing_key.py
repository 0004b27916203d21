"""The private key that a host signs with: an Ed25519 key in the file format of OpenSSH."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from igny8_backup.errors import IdentityError
from igny8_backup.signing import sshsig


class SigningKey:
    """A private key. Its ``repr`` shows the public half only."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private

    @property
    def public_line(self) -> str:
        """The public key as OpenSSH writes it: ``ssh-ed25519 AAAA...``."""
        return self._private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        return self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def sign(self, message: bytes, namespace: str) -> bytes:
        """Return the armored signature of ``message``: see :func:`sshsig.sign`."""
        return sshsig.sign(self._private, message, namespace)

    def __repr__(self) -> str:
        return f"SigningKey({self.public_line!r})"


def generate() -> tuple[SigningKey, bytes]:
    """Return a new key, and the content of its file."""
    private = Ed25519PrivateKey.generate()
    return SigningKey(private), private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def load(path: Path) -> SigningKey:
    """Load the key from its file.

    Raises :class:`IdentityError` if the file cannot be read, if other users may read it, or if it is not an
    Ed25519 key in OpenSSH's format without a passphrase. The mode of a file on a read-only mount is not
    checked, because secrets of containers are mounted like that.
    """
    hint = "Give the file that generate_signing_key wrote."
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            read_only = os.fstatvfs(file.fileno()).f_flag & os.ST_RDONLY
            content = file.read(1 << 16)
    except OSError as error:
        what = f"The signing key {path} cannot be read: {error.strerror}."
        raise IdentityError(what, unchanged="Nothing was signed.", hint=hint) from None
    if stat.S_IMODE(mode) & 0o077 and not read_only:
        raise IdentityError(
            f"Other users may read the signing key {path}.",
            unchanged="Nothing was signed.",
            hint=f"Run: chmod 600 {path}. If anybody may have read the key, generate a new one.",
        )
    try:
        private = load_ssh_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it has a passphrase
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        what = f"{path} is not an Ed25519 key in OpenSSH's format without a passphrase."
        raise IdentityError(what, unchanged="Nothing was signed.", hint=hint)
    return SigningKey(private)
