"""Create keys: the age identity that decrypts backups, and the key with which a host signs its backups."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from igny8_backup.common.filesystem import sync, write_all
from igny8_backup.conf import Config
from igny8_backup.errors import FilesError, IdentityError, UsageError
from igny8_backup.operations.installation.reading_settings import reading_settings
from igny8_backup.signing import signing_key
from igny8_backup.streams.age import generate_identity, protect_identity

_IDENTITY = "it may be the only key to your backups"
_SIGNING_KEY = "it may be the key that your hosts trust"


@dataclass(frozen=True, kw_only=True)
class KeyPairs:
    """The keys that :func:`make_keys` created.

    ``recipient`` is the public key for the identity in ``identity_file``. ``signing_key_file`` is the path of
    the new signing key; empty if none was created. ``public_signing_key`` is the public key of the new
    signing key, or else of the signing key in the settings; empty if there is neither. ``reading_settings``
    is the Python source of the settings that a machine needs to read the backups.
    """

    identity_file: str
    recipient: str
    signing_key_file: str
    public_signing_key: str
    reading_settings: str


def make_keys(
    config: Config, path: Path, now: datetime, signing_path: Path | None, passphrase: str = ""
) -> KeyPairs:
    """Write a new identity to ``path`` and, if given, a new signing key to ``signing_path``.

    Both files get mode 0600. The identity file has the format of age-keygen. Its comments contain the
    settings that an empty machine needs to read the backups. These settings include the public keys to trust:
    the keys that the settings here trust, and that of the new signing key. Without ``signing_path``, the
    signing key in the settings takes the place of the new one. If a ``passphrase`` is given, it encrypts the
    identity file.

    Raises :class:`UsageError` if one of the files exists: without the old key, backups that were encrypted to
    it would be lost. Raises :class:`FilesError` if a file cannot be written. After an error, neither of the
    new files is left.
    """
    identity, recipient = generate_identity()
    public, content = "", b""
    if signing_path:
        key, content = signing_key.generate()
        public = f"{key.public_line} {config.host}"
    elif config.signing_key:
        with suppress(IdentityError):  # another machine than the one that signs
            public = f"{signing_key.load(config.signing_key).public_line} {config.host}"
    needed = reading_settings(config, recipient, public)
    comments = "".join(f"# {line}".rstrip() + "\n" for line in needed.splitlines())
    note = "# To read the backups on an empty machine, add these settings. They contain no secret.\n"
    text = f"# created: {now:%Y-%m-%dT%H:%M:%SZ}\n{note}{comments}{identity}"
    written = protect_identity(text, passphrase) if passphrase else text.encode()
    if signing_path:
        _write_new(signing_path, content, _SIGNING_KEY)
    try:
        _write_new(path, written, _IDENTITY)
    except BaseException:
        if signing_path:
            with suppress(OSError):
                signing_path.unlink()
        raise
    return KeyPairs(
        identity_file=str(path.resolve()),
        recipient=recipient,
        signing_key_file=str(signing_path.resolve()) if signing_path else "",
        public_signing_key=public,
        reading_settings=needed,
    )


def make_signing_key(path: Path) -> str:
    """Write a new Ed25519 key to ``path`` (mode 0600, in OpenSSH's format) and return its public line.

    Raises :class:`UsageError` if the file exists, :class:`FilesError` if it cannot be written.
    """
    key, content = signing_key.generate()
    _write_new(path, content, _SIGNING_KEY)
    return key.public_line


def _write_new(path: Path, content: bytes, reason: str) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(
            f"{path} already exists.",
            unchanged=f"The file was not overwritten: {reason}.",
            hint="Choose another file name.",
        ) from None
    except OSError as error:
        what = f"{path} cannot be written: {error.strerror}."
        raise FilesError(what, unchanged="No key was created.", hint="Choose another folder.") from None
    try:
        write_all(handle, content)
        sync(handle)
    except BaseException as error:
        with suppress(OSError):
            path.unlink()
        if isinstance(error, OSError):
            what = f"{path} cannot be written: {error.strerror}."
            hint = "Free space there, or choose another folder."
            raise FilesError(what, unchanged="No key was created.", hint=hint) from None
        raise
    finally:
        os.close(handle)
