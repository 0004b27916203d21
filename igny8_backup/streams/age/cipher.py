"""Encrypt and decrypt streams with age."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import BinaryIO

import pyrage

from igny8_backup.errors import IdentityError, IntegrityError, UsageError
from igny8_backup.streams import Blocks
from igny8_backup.streams.age import plugins
from igny8_backup.streams.age.identities import Identity
from igny8_backup.streams.age.recipients import HINT, make_recipients
from igny8_backup.streams.pull_adapter import pull_through

NO_MATCH = "No matching keys found"
"""Message of pyrage when no identity opens the header. Every other message means damage."""


def encrypt(blocks: Blocks, recipients: Sequence[str]) -> Blocks:
    """Encrypt the stream to ``recipients`` (public keys); the secret key of any one of them decrypts it.

    Raises ``UsageError`` if a recipient is invalid or none is given.
    """
    with contextlib.closing(blocks):
        if not recipients:
            raise UsageError("There is no recipient to encrypt to.", hint=HINT)
        keys = make_recipients(recipients)

        def loop(reader: BinaryIO, writer: BinaryIO) -> None:
            try:
                pyrage.encrypt_io(reader, writer, keys)
            except pyrage.EncryptError as error:
                # A failure of the source takes precedence over this: see pull_through.
                raise UsageError(
                    f"The data cannot be encrypted to the recipients: {error}.",
                    hint="Try each recipient by hand: echo test | age -r RECIPIENT. Remove the one that fails"
                    " from IGNY8_BACKUP['ENCRYPTION']['RECIPIENTS'], or repair its plugin.",
                ) from None
            finally:
                plugins.reap()

        yield from pull_through(loop, blocks)


def decrypt(blocks: Blocks, identities: Sequence[Identity]) -> Blocks:
    """Decrypt an age file with the first of ``identities`` (secret keys) that opens it.

    Each yielded block is authentic, but only the end of the stream proves that no block is missing. Raises
    ``IdentityError`` if no identity opens the file, ``IntegrityError`` if it was altered, is incomplete, or
    has bytes after its end.
    """
    keys = [identity.key for identity in identities]
    given = ", ".join(identity.recipient for identity in identities)

    def loop(reader: BinaryIO, writer: BinaryIO) -> None:
        try:
            pyrage.decrypt_io(reader, writer, keys)
        except pyrage.DecryptError as error:
            message = str(error).partition("\n")[0]
            if message == NO_MATCH:
                raise IdentityError(
                    f"The data is not encrypted to this identity (of {given}), or its first bytes were"
                    " altered.",
                    hint="Give the identity of a recipient that the settings named when the backup was made.",
                ) from None
            raise IntegrityError(f"The header of the encrypted data is damaged ({message}).") from None
        except OSError as error:
            raise IntegrityError(f"The encrypted data was altered or is incomplete ({error}).") from None
        finally:
            plugins.reap()

    yield from pull_through(loop, blocks)
