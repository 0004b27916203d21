"""Find out whether an identity opens an age file, or change the file's recipients, using only its header.

The header contains the file's key, encrypted once for each recipient. A MAC over the header proves that it
was not altered. Source: the age specification (age-encryption.org/v1), section "The age file header".
"""

from __future__ import annotations

import hmac
import io
import re
from collections.abc import Sequence
from contextlib import closing

import pyrage

from igny8_backup.errors import IdentityError, IntegrityError
from igny8_backup.streams import Blocks
from igny8_backup.streams.age import plugins
from igny8_backup.streams.age.cipher import NO_MATCH
from igny8_backup.streams.age.file_key import hkdf, unwrap, wrap
from igny8_backup.streams.age.identities import Identity
from igny8_backup.streams.age.stanzas import encode, parse_header, write_header

LIMIT = 1 << 16
"""The largest header, in bytes, that is searched for. A header for one recipient has about 200."""

_END = re.compile(rb"\n--- [A-Za-z0-9+/]{43}\n")
_NONCE = 16
"""The payload begins with a nonce of this size, which is read together with the header."""


def opens(blocks: Blocks, identities: Sequence[Identity]) -> bool:
    """Return whether one of ``identities`` opens the age file ``blocks``.

    Only the header is read and decrypted. Then ``blocks`` are closed. Raises ``IntegrityError`` if the header
    is missing or was altered.
    """
    start = _read_start(blocks)
    try:
        pyrage.decrypt_io(io.BytesIO(start), io.BytesIO(), [identity.key for identity in identities])
    except pyrage.DecryptError as error:
        message = str(error).partition("\n")[0]
        if message == NO_MATCH:
            return False
        raise IntegrityError(f"The header of the encrypted data is damaged ({message}).") from None
    except OSError:
        return True  # the header was opened; then the data is missing, because it was not read
    finally:
        plugins.reap()
    return True


def rewrap(blocks: Blocks, identities: Sequence[Identity], recipients: Sequence[str]) -> Blocks:
    """Yield the age file ``blocks`` with a new header, so that only ``recipients`` can decrypt it.

    The new header contains the same key of the file. The data after the header stays as it is. ``recipients``
    must be X25519 or SSH keys: see ``require_rotatable``. Raises ``IdentityError`` if no identity decrypts
    the key of the file, and ``IntegrityError`` if the header is missing or was altered.
    """
    with closing(blocks):
        start, end = b"", None
        for block in blocks:
            start += block
            if (end := _END.search(start[:LIMIT])) or len(start) > LIMIT:
                break
        if end is None:
            raise _no_header()
        header = parse_header(start[: end.end()])
        key = unwrap(header.stanzas, identities)
        if key is None:
            given = ", ".join(identity.recipient for identity in identities)
            raise IdentityError(
                f"The data is not encrypted to this identity (of {given}), or it is a plugin's identity.",
                hint="Give the age or SSH identity of a recipient that the backup is encrypted to.",
            )
        if not hmac.compare_digest(_mac(key, header.signed), header.mac):
            raise IntegrityError("The header of the encrypted data was altered: its MAC is wrong.")
        signed = write_header(tuple(wrap(key, recipient) for recipient in recipients))
        yield signed + f" {encode(_mac(key, signed))}\n".encode() + start[end.end() :]
        yield from blocks


def _mac(file_key: bytes, signed: bytes) -> bytes:
    return hmac.digest(hkdf(file_key, salt=b"", info="header"), signed, "sha256")


def _read_start(blocks: Blocks) -> bytes:
    """Return the header and the nonce after it. Raises ``IntegrityError`` if the header is not complete."""
    data = b""
    with closing(blocks):
        for block in blocks:
            data += block[: LIMIT + _NONCE]
            if (end := _END.search(data)) and len(data) >= end.end() + _NONCE:
                return data[: end.end() + _NONCE]
            if len(data) > LIMIT:
                break
    raise _no_header()


def _no_header() -> IntegrityError:
    return IntegrityError("The encrypted data has no complete age header.")
