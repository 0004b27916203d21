"""Encrypt and decrypt with age: files of the format age-encryption.org/v1, which ``age -d`` opens.

Only X25519 keys are supported. A recipient (``age1...``) is public and encrypts; an identity
(``AGE-SECRET-KEY-1...``) is secret and decrypts. No message and no ``repr`` contains an identity.
Entry points: ``encrypt``, ``decrypt``, ``load_identities``, ``parse_recipients``, ``generate_identity``.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from typing import BinaryIO, NoReturn

import pyrage
from pyrage import x25519

from igny8_backup.errors import IdentityError, IntegrityError, UsageError
from igny8_backup.streams import Blocks
from igny8_backup.streams.pull_adapter import pull_through

_SECRET_MARK = "AGE-SECRET-KEY-"  # noqa: S105 - the prefix of a secret
_IDENTITY_FILE_LIMIT = 1 << 20
_HINT = "Give the file that generate_backup_key wrote: --identity FILE."
_RECIPIENT_HINT = "Copy the recipient that generate_backup_key printed. It is also in the identity file."
_NO_MATCH = "No matching keys found"
"""Message of pyrage when no identity opens the header. Every other message means damage."""


class Identity:
    """A secret age key. Its ``repr`` shows only the public key that belongs to it; it cannot be pickled."""

    __slots__ = ("_key",)

    def __init__(self, key: x25519.Identity) -> None:
        self._key = key

    @property
    def recipient(self) -> str:
        """The public key for this identity."""
        return str(self._key.to_public())

    def __repr__(self) -> str:
        return f"<Identity of {self.recipient}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("An age identity cannot be pickled: its secret must stay in this process.")


def generate_identity() -> tuple[str, str]:
    """Generate a key pair; return the text of an identity file (secret) and the recipient (public)."""
    key = x25519.Identity.generate()
    recipient = str(key.to_public())
    return f"# public key: {recipient}\n{key}\n", recipient


def parse_recipients(texts: Sequence[str]) -> tuple[str, ...]:
    """Check public keys (``age1...``) and return them without blanks around them.

    Raises ``UsageError``, which names the invalid one.
    """
    recipients = []
    for number, text in enumerate(texts, start=1):
        recipient = text.strip()
        place = f"recipient {number} of {len(texts)}"
        if _SECRET_MARK in recipient.upper():
            raise UsageError(
                f"A secret key is given as {place}: a server that writes backups must not hold it.",
                hint="Give the public key (age1...) of a new pair, and treat this one as exposed.",
            )
        if not recipient.startswith("age1"):
            raise UsageError(
                f"The text given as {place} is not an age recipient: those begin with age1.",
                hint=_RECIPIENT_HINT,
            )
        try:
            x25519.Recipient.from_str(recipient)
        except pyrage.RecipientError:
            raise UsageError(
                f"{recipient}, {place}, is not a valid X25519 recipient: it is mistyped or incomplete.",
                hint=_RECIPIENT_HINT,
            ) from None
        recipients.append(recipient)
    return tuple(recipients)


def load_identities(path: str | os.PathLike[str]) -> list[Identity]:
    """Read an age identity file: ``AGE-SECRET-KEY-1...`` lines, comments and empty lines.

    Raises ``IdentityError`` if the file is missing, unreadable or malformed, holds no identity, or is a
    regular file that other users may read. A pipe is accepted: ``--identity <(age -d key.age)``.
    """
    if _SECRET_MARK in os.fspath(path).upper():
        raise _identity_error(
            "A secret key is given instead of the path of an identity file.",
            "Write the key to a file of mode 0600 and give its path. Delete it from the shell history.",
        )
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            shared = stat.S_ISREG(status.st_mode) and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
            # Orchestrators mount secrets read-only, with a mode that nobody can change there.
            if shared and not os.fstatvfs(file.fileno()).f_flag & os.ST_RDONLY:
                raise _identity_error(
                    f"The identity file {path} is open to other users.", f"Run: chmod 600 {path}."
                )
            content = file.read(_IDENTITY_FILE_LIMIT + 1)
    except OSError as error:
        raise _identity_error(f"The identity file {path} cannot be read: {error.strerror}.") from None
    if content.startswith((b"age-encryption.org/", b"-----BEGIN AGE ENCRYPTED FILE-----")):
        raise _identity_error(
            f"The identity file {path} is itself encrypted.",
            f"Decrypt it with age: --identity <(age -d {path}).",
        )
    try:
        if len(content) <= _IDENTITY_FILE_LIMIT:
            return parse_identities(content.decode(), name=os.fspath(path))
    except UnicodeDecodeError:
        pass
    raise _identity_error(f"{path} is not an age identity file.")


def parse_identities(text: str, *, name: str = "the identity file") -> list[Identity]:
    """Parse the text of an identity file. Raises ``IdentityError``, whose message names the file ``name``."""
    identities = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            try:
                identities.append(Identity(x25519.Identity.from_str(line.strip())))
            except pyrage.IdentityError:
                raise _identity_error(
                    f"Line {number} of {name} is not an X25519 age identity: it is mistyped, incomplete, or"
                    " of another kind."
                ) from None
    if not identities:
        raise _identity_error(f"There is no identity in {name}: no line begins with AGE-SECRET-KEY-1.")
    return identities


def _identity_error(what: str, hint: str = _HINT) -> IdentityError:
    return IdentityError(what, unchanged="Nothing was changed.", hint=hint)


def encrypt(blocks: Blocks, recipients: Sequence[str]) -> Blocks:
    """Encrypt the stream to ``recipients`` (public keys); the secret key of any one of them decrypts it.

    Raises ``UsageError`` if a recipient is invalid or none is given.
    """
    with contextlib.closing(blocks):
        if not recipients:
            raise UsageError("There is no recipient to encrypt to.", hint=_RECIPIENT_HINT)
        keys = [x25519.Recipient.from_str(recipient) for recipient in parse_recipients(recipients)]

        def loop(reader: BinaryIO, writer: BinaryIO) -> None:
            pyrage.encrypt_io(reader, writer, keys)

        yield from pull_through(loop, blocks)


def decrypt(blocks: Blocks, identities: Sequence[Identity]) -> Blocks:
    """Decrypt an age file with the first of ``identities`` (secret keys) that opens it.

    Each block is authentic; only the end of the stream proves that none is missing. Raises ``IdentityError``
    if no identity opens the file, ``IntegrityError`` if it was altered, is incomplete, or has bytes after its
    end.
    """
    keys = [identity._key for identity in identities]
    given = ", ".join(identity.recipient for identity in identities)

    def loop(reader: BinaryIO, writer: BinaryIO) -> None:
        try:
            pyrage.decrypt_io(reader, writer, keys)
        except pyrage.DecryptError as error:
            message = str(error).partition("\n")[0]
            if message == _NO_MATCH:
                raise IdentityError(
                    f"The data is not encrypted to this identity (of {given}), or its first bytes were"
                    " altered.",
                    hint="Give the identity of a recipient that the settings named when the backup was made.",
                ) from None
            raise IntegrityError(f"The header of the encrypted data is damaged ({message}).") from None
        except OSError as error:
            raise IntegrityError(f"The encrypted data was altered or is incomplete ({error}).") from None

    yield from pull_through(loop, blocks)
