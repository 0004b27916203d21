"""age encryption, both directions: files of the format age-encryption.org/v1 that ``age -d`` opens.

Only X25519 keys: a recipient (``age1...``) is public and encrypts, an identity (``AGE-SECRET-KEY-1...``) is
secret and decrypts. An identity never leaves this module in a message or a ``repr``.
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
from igny8_backup.streams.handover import pull_through

_SECRET_MARK = "AGE-SECRET-KEY-"  # noqa: S105 - how a secret begins, not a secret
_IDENTITY_FILE_LIMIT = 1 << 20
_UNCHANGED = "Nothing was changed."
_GIVE = "Give the file that generate_backup_key wrote: --identity FILE."
_NO_MATCH = "No matching keys found"
"""How pyrage says that no identity opens the header; every other text of it means damage."""


class Identity:
    """A secret key that decrypts. Opaque: it shows its public recipient only, and cannot be pickled."""

    __slots__ = ("_key",)

    def __init__(self, key: x25519.Identity) -> None:
        self._key = key

    @property
    def recipient(self) -> str:
        """The public key that encrypts to this identity."""
        return str(self._key.to_public())

    def __repr__(self) -> str:
        return f"<Identity of {self.recipient}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("An age identity is not pickled: its secret stays in this process.")


def generate_identity() -> tuple[str, str]:
    """A new key pair: the text of an identity file (secret), and its recipient (public)."""
    key = x25519.Identity.generate()
    recipient = str(key.to_public())
    return f"# public key: {recipient}\n{key}\n", recipient


def parse_recipients(texts: Sequence[str]) -> tuple[str, ...]:
    """The recipients, each checked, without surrounding blanks. ``UsageError`` tells which one is wrong."""
    recipients = []
    for number, text in enumerate(texts, start=1):
        recipient = text.strip()
        place = f"recipient {number} of {len(texts)}"
        if _SECRET_MARK in recipient.upper():
            raise UsageError(
                f"A secret key is given as {place}: a server that writes backups must not hold it.",
                hint="Give the public key (age1...) of a new pair, and regard this one as exposed.",
            )
        if not recipient.startswith("age1"):
            raise UsageError(f"The text given as {place} is no age recipient: those begin with age1.")
        try:
            x25519.Recipient.from_str(recipient)
        except pyrage.RecipientError:
            raise UsageError(
                f"{recipient}, {place}, is not a valid X25519 recipient: mistyped or cut short."
            ) from None
        recipients.append(recipient)
    return tuple(recipients)


def load_identities(path: str | os.PathLike[str]) -> list[Identity]:
    """The identities in an age identity file: ``AGE-SECRET-KEY-1...`` lines, comments and empty lines.

    Raises ``IdentityError`` if the file is missing, unreadable, malformed, holds none, or is a regular file
    that its group or others may read. A pipe is fine: ``--identity <(age -d key.age)``.
    """
    if _SECRET_MARK in os.fspath(path).upper():
        raise IdentityError(
            "A secret key is given where the path of its file belongs.",
            unchanged=_UNCHANGED,
            hint="Write it to a file of mode 0600 and give its path; the shell's history may hold it now.",
        )
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise IdentityError(
                    f"The identity file {path} is open to other users.",
                    unchanged=_UNCHANGED,
                    hint=f"Run: chmod 600 {path}.",
                )
            content = file.read(_IDENTITY_FILE_LIMIT + 1)
    except OSError as error:
        raise IdentityError(
            f"The identity file {path} cannot be read: {error.strerror}.", unchanged=_UNCHANGED, hint=_GIVE
        ) from None
    if content.startswith((b"age-encryption.org/", b"-----BEGIN AGE ENCRYPTED FILE-----")):
        raise IdentityError(
            f"The identity file {path} is itself encrypted.",
            unchanged=_UNCHANGED,
            hint=f"Give what age prints: --identity <(age -d {path}).",
        )
    try:
        if len(content) <= _IDENTITY_FILE_LIMIT:
            return parse_identities(content.decode(), name=os.fspath(path))
    except UnicodeDecodeError:
        pass
    raise IdentityError(f"{path} is not an age identity file.", unchanged=_UNCHANGED, hint=_GIVE)


def parse_identities(text: str, *, name: str = "the identity file") -> list[Identity]:
    """The identities in the text of an identity file; ``name`` is for the message of ``IdentityError``."""
    identities = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            try:
                identities.append(Identity(x25519.Identity.from_str(line.strip())))
            except pyrage.IdentityError:
                raise IdentityError(
                    f"Line {number} of {name} is not an X25519 age identity: mistyped, cut short, or of"
                    " another kind.",
                    unchanged=_UNCHANGED,
                    hint=_GIVE,
                ) from None
    if not identities:
        raise IdentityError(
            f"There is no identity in {name}: a line that begins with AGE-SECRET-KEY-1.",
            unchanged=_UNCHANGED,
            hint=_GIVE,
        )
    return identities


def encrypt(blocks: Blocks, recipients: Sequence[str]) -> Blocks:
    """An age file that each of the ``recipients`` opens. ``UsageError`` if one is wrong or none is given."""
    with contextlib.closing(blocks):
        if not recipients:
            raise UsageError("There is no recipient to encrypt to.")
        keys = [x25519.Recipient.from_str(recipient) for recipient in parse_recipients(recipients)]

        def push(reader: BinaryIO, writer: BinaryIO) -> None:
            pyrage.encrypt_io(reader, writer, keys)

        yield from pull_through(push, blocks)


def decrypt(blocks: Blocks, identities: Sequence[Identity]) -> Blocks:
    """The content of an age file; each block is authentic, but only the end proves that none is missing.

    Raises ``IdentityError`` if none of the identities opens it, ``IntegrityError`` if it was altered, cut off
    or goes on after its end.
    """
    keys = [identity._key for identity in identities]
    given = ", ".join(identity.recipient for identity in identities)

    def push(reader: BinaryIO, writer: BinaryIO) -> None:
        try:
            pyrage.decrypt_io(reader, writer, keys)
        except pyrage.DecryptError as error:
            said = str(error).partition("\n")[0]
            if said == _NO_MATCH:
                raise IdentityError(
                    f"The data is not encrypted to this identity (of {given}), or its first bytes were"
                    " altered.",
                    hint="Give the identity of a recipient that the settings named when it was written.",
                ) from None
            raise IntegrityError(f"The head of the encrypted data is damaged ({said}).") from None
        except OSError as error:
            raise IntegrityError(f"The encrypted data was altered or cut off ({error}).") from None

    yield from pull_through(push, blocks)
