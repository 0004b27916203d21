"""Read identities: the private keys that decrypt backups.

An identity file contains lines ``AGE-SECRET-KEY-1...`` or ``AGE-PLUGIN-...``, or one private SSH key. The
file may be protected with a passphrase. The passphrase opens the file, never a backup.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Callable
from typing import Any, NoReturn, TypeAlias

import pyrage
from pyrage import passphrase, x25519

from igny8_backup.errors import IdentityError
from igny8_backup.streams.age import plugins, ssh_identity
from igny8_backup.streams.age.recipients import SECRET_MARK

AskPassphrase: TypeAlias = Callable[[str], str | None]
"""A function that asks a person for the passphrase of a file. It receives the name of the file and returns
the passphrase, or ``None`` if there is nobody to ask."""

_FILE_LIMIT = 1 << 20
_ATTEMPTS = 3
_HINT = "Give the file that generate_backup_key wrote: --identity FILE."
_BINARY, _ARMOR = b"age-encryption.org/", b"-----BEGIN AGE ENCRYPTED FILE-----"
_ARMOR_END = b"-----END AGE ENCRYPTED FILE-----"
_ARMOR_COLUMNS = 64


class Identity:
    """A secret age key. It cannot be pickled, and its ``repr`` shows only ``recipient``.

    ``key`` is an identity of pyrage. ``recipient`` is its public key, or the program of its plugin.
    ``private`` is the private key of an SSH identity, and ``None`` for other identities.
    """

    __slots__ = ("key", "private", "recipient")

    def __init__(self, key: Any, recipient: str, private: Any = None) -> None:
        self.key = key
        self.recipient = recipient
        self.private = private

    def __repr__(self) -> str:
        return f"<Identity of {self.recipient}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("An age identity cannot be pickled: its secret must stay in this process.")


def generate_identity() -> tuple[str, str]:
    """Generate a key pair; return the text of an identity file (secret) and the recipient (public)."""
    key = x25519.Identity.generate()
    recipient = str(key.to_public())
    return f"# public key: {recipient}\n{key}\n", recipient


def protect_identity(text: str, secret: str) -> bytes:
    """Encrypt the text of an identity file with the passphrase ``secret``, as ``age -p -a`` does."""
    data = base64.b64encode(passphrase.encrypt(text.encode(), secret))
    lines = [data[start : start + _ARMOR_COLUMNS] for start in range(0, len(data), _ARMOR_COLUMNS)]
    return b"\n".join([_ARMOR, *lines, _ARMOR_END, b""])


def load_identities(path: str | os.PathLike[str], ask: AskPassphrase = lambda name: None) -> list[Identity]:
    """Read an identity file (private keys). If it is protected, ``ask`` is called for the passphrase.

    ``ask`` receives the name of the file and returns the passphrase, or ``None`` if there is nobody to ask.
    Raises ``IdentityError`` if the file is missing, unreadable or malformed, if it holds no identity, if its
    passphrase is wrong or missing, or if it is a regular file that other users may read. A pipe is accepted:
    ``--identity <(age -d key.age)``.
    """
    name = os.fspath(path)
    if SECRET_MARK in name.upper():
        raise _identity_error(
            "A secret key is given instead of the path of an identity file.",
            "Write the key to a file of mode 0600 and give its path. Delete it from the shell history.",
        )
    content = _read_private(name)
    if content.startswith((_BINARY, _ARMOR)):
        content = _opened(content, name, ask)
    if len(content) <= _FILE_LIMIT and ssh_identity.is_ssh_key(content):
        return [Identity(*ssh_identity.load(content, name, lambda: ask(name)))]
    try:
        if len(content) <= _FILE_LIMIT:
            return parse_identities(content.decode(), name=name)
    except UnicodeDecodeError:
        pass
    raise _identity_error(f"{name} is not an age identity file.")


def parse_identities(text: str, *, name: str = "the identity file") -> list[Identity]:
    """Parse the text of an identity file. Raises ``IdentityError``, whose message names the file ``name``."""
    identities = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            identities.append(_parse_line(line.strip(), f"line {number} of {name}"))
    if not identities:
        raise _identity_error(f"There is no identity in {name}: no line begins with AGE-SECRET-KEY-1.")
    return identities


def _parse_line(line: str, place: str) -> Identity:
    try:
        if line.startswith("AGE-PLUGIN-"):
            return Identity(*plugins.make_identity(line, place))
        key = x25519.Identity.from_str(line)
    except (pyrage.IdentityError, ValueError):
        raise _identity_error(
            f"L{place[1:]} is not an age identity: it is mistyped, incomplete, or of another kind."
        ) from None
    return Identity(key, str(key.to_public()))


def _read_private(name: str) -> bytes:
    """Read the identity file ``name``; raise ``IdentityError`` if its mode lets other users open it.

    The mode is not checked on a read-only mount, where nobody can change it. Container orchestrators mount
    secrets in this way.
    """
    try:
        with open(name, "rb") as file:
            status = os.fstat(file.fileno())
            shared = stat.S_ISREG(status.st_mode) and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
            # Orchestrators mount secrets read-only, with a mode that nobody can change there.
            if shared and not os.fstatvfs(file.fileno()).f_flag & os.ST_RDONLY:
                raise _identity_error(
                    f"The identity file {name} is open to other users.", f"Run: chmod 600 {name}."
                )
            return file.read(_FILE_LIMIT + 1)
    except OSError as error:
        raise _identity_error(f"The identity file {name} cannot be read: {error.strerror}.") from None


def _opened(content: bytes, name: str, ask: AskPassphrase) -> bytes:
    """Decrypt the content of an identity file with the passphrase that ``ask`` returns.

    Raises ``IdentityError`` if the passphrase is wrong or missing, if the file is encrypted in another way,
    or if it is damaged.
    """
    data = _without_armor(content)
    protected = b"\n-> scrypt " in data[:200]
    for _ in range(_ATTEMPTS if protected else 0):
        secret = ask(name)
        if secret is None:
            break
        try:
            opened: bytes = passphrase.decrypt(data, secret)
            return opened
        except pyrage.DecryptError as error:
            if str(error) != "Decryption failed":
                raise _identity_error(f"The identity file {name} is damaged: {error}.") from None
    else:
        if protected:
            raise _identity_error(
                f"The passphrase does not open the identity file {name}.",
                "Look it up where the passphrase of this file was written down, and run the command again.",
            )
    raise _identity_error(
        f"The identity file {name} is itself encrypted.",
        (
            "Run the command on a terminal, which asks for the passphrase, or decrypt the file with age:"
            if protected
            else "Decrypt it with age:"
        )
        + f" --identity <(age -d {name}).",
    )


def _without_armor(content: bytes) -> bytes:
    """Return the binary form of an age file, which may be armored (encoded as text with base64).

    If the armor is damaged, the result is empty.
    """
    if not content.startswith(_ARMOR):
        return content
    try:
        return base64.b64decode(content.partition(_ARMOR_END)[0].removeprefix(_ARMOR))
    except binascii.Error:
        return b""


def _identity_error(what: str, hint: str = _HINT) -> IdentityError:
    return IdentityError(what, unchanged="Nothing was changed.", hint=hint)
