"""Encrypt the key of an age file to X25519 and SSH recipients, and decrypt this key.

``pyrage`` does this only as part of encrypting a whole file. Here the key alone is encrypted, so that the
recipients of a stored file can be changed without encrypting its data again. Source: the age specification
(age-encryption.org/v1), sections "The X25519 recipient type", "The ssh-rsa recipient type" and "The
ssh-ed25519 recipient type".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_public_key,
)

from igny8_backup.errors import UsageError
from igny8_backup.streams.age.identities import Identity
from igny8_backup.streams.age.recipients import parse_recipients
from igny8_backup.streams.age.stanzas import FILE_KEY_BYTES, Stanza, decode, encode

X25519, ED25519, RSA = "X25519", "ssh-ed25519", "ssh-rsa"
_LABEL = "age-encryption.org/v1/"
_NONCE = bytes(12)
_PRIME = 2**255 - 19
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_CHECKSUM = 6
_PLUGIN_HINT = (
    "Keys of plugins can only be used when a backup is made. Name age or SSH keys in"
    " IGNY8_BACKUP['ENCRYPTION']['RECIPIENTS'] and as --identity, or make a new backup."
)


def hkdf(key: bytes, *, salt: bytes, info: str) -> bytes:
    """Derive a key of 32 bytes with HKDF-SHA-256."""
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=info.encode()).derive(key)


def require_rotatable(recipients: Iterable[str]) -> None:
    """Check that the key of a file can be encrypted to ``recipients`` without a plugin.

    Raises ``UsageError`` if a recipient is malformed or is the key of a plugin; the message names it.
    """
    for text in parse_recipients(tuple(recipients)):
        if not text.startswith("ssh-") and text.rpartition("1")[0] != "age":
            raise UsageError(
                f"The recipients of existing backups cannot be changed to {text}, the key of a plugin.",
                unchanged="Nothing was changed.",
                hint=_PLUGIN_HINT,
            )


def wrap(file_key: bytes, recipient: str) -> Stanza:
    """Return the stanza with ``file_key`` (16 bytes), encrypted to a recipient (X25519 or SSH key)."""
    if not recipient.startswith("ssh-"):
        return _wrap_x25519(file_key, _unbech32(recipient))
    public = load_ssh_public_key(recipient.encode())
    if isinstance(public, RSAPublicKey):
        return Stanza((RSA, _tag(public)), public.encrypt(file_key, _OAEP))
    if not isinstance(public, Ed25519PublicKey):
        what = f"{recipient} is not an SSH key of the type ssh-ed25519 or ssh-rsa."
        raise UsageError(what, hint="Name another key in IGNY8_BACKUP['ENCRYPTION']['RECIPIENTS'].")
    theirs = _montgomery(public)
    ephemeral = X25519PrivateKey.generate()
    share = ephemeral.public_key().public_bytes_raw()
    shared = _exchange(_tweak(public), _exchange(ephemeral.private_bytes_raw(), theirs))
    key = hkdf(shared, salt=share + theirs, info=_LABEL + ED25519)
    return Stanza((ED25519, _tag(public), encode(share)), _seal(key, file_key))


def unwrap(stanzas: Iterable[Stanza], identities: Iterable[Identity]) -> bytes | None:
    """Return the key of a file (16 bytes), which one of ``identities`` decrypts from one of ``stanzas``.

    Returns ``None`` if no identity decrypts a stanza. Identities of plugins are not used.
    """
    known = list(identities)
    for stanza in stanzas:
        for identity in known:
            try:
                found = _unwrap(stanza, identity)
            except (ValueError, InvalidTag):  # for another recipient, or malformed
                continue
            if found is not None and len(found) == FILE_KEY_BYTES:
                return found
    return None


def _unwrap(stanza: Stanza, identity: Identity) -> bytes | None:
    kind, *arguments = stanza.arguments
    private = identity.private
    if kind == X25519 and private is None and len(arguments) == 1:
        secret = str(identity.key)
        if not secret.startswith("AGE-SECRET-KEY-1"):
            return None
        raw, share = _unbech32(secret.lower()), decode(arguments[0])
        public = X25519PrivateKey.from_private_bytes(raw).public_key().public_bytes_raw()
        key = hkdf(_exchange(raw, share), salt=share + public, info=_LABEL + X25519)
        return _open(key, stanza.body)
    if private is None or not arguments or arguments[0] != _tag(private.public_key()):
        return None
    if kind == RSA and isinstance(private, RSAPrivateKey):
        return private.decrypt(stanza.body, _OAEP)
    if kind == ED25519 and isinstance(private, Ed25519PrivateKey) and len(arguments) == 2:
        share, public_key = decode(arguments[1]), private.public_key()
        seed = private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        secret_scalar = hashlib.sha512(seed).digest()[:32]
        shared = _exchange(_tweak(public_key), _exchange(secret_scalar, share))
        key = hkdf(shared, salt=share + _montgomery(public_key), info=_LABEL + ED25519)
        return _open(key, stanza.body)
    return None


_OAEP = padding.OAEP(
    mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=(_LABEL + RSA).encode()
)


def _wrap_x25519(file_key: bytes, theirs: bytes) -> Stanza:
    ephemeral = X25519PrivateKey.generate()
    share = ephemeral.public_key().public_bytes_raw()
    shared = _exchange(ephemeral.private_bytes_raw(), theirs)
    key = hkdf(shared, salt=share + theirs, info=_LABEL + X25519)
    return Stanza((X25519, encode(share)), _seal(key, file_key))


def _exchange(private: bytes, public: bytes) -> bytes:
    """Return the shared secret of X25519. Raises ``ValueError`` for a public key of low order."""
    return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))


def _seal(key: bytes, file_key: bytes) -> bytes:
    return ChaCha20Poly1305(key).encrypt(_NONCE, file_key, None)


def _open(key: bytes, body: bytes) -> bytes:
    return ChaCha20Poly1305(key).decrypt(_NONCE, body, None)


def _wire(public: Any) -> bytes:
    """Return a public SSH key in the wire format of SSH."""
    line: bytes = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return decode(line.split()[1].decode().rstrip("="))


def _tag(public: Any) -> str:
    return encode(hashlib.sha256(_wire(public)).digest()[:4])


def _tweak(public: Any) -> bytes:
    return hkdf(b"", salt=_wire(public), info=_LABEL + ED25519)


def _montgomery(public: Ed25519PublicKey) -> bytes:
    """Return the X25519 form of a public Ed25519 key (RFC 7748, section 4.1)."""
    y = int.from_bytes(public.public_bytes_raw(), "little") & ((1 << 255) - 1)
    return ((1 + y) * pow(1 - y, -1, _PRIME) % _PRIME).to_bytes(32, "little")


def _unbech32(text: str) -> bytes:
    """Return the bytes in a Bech32 text (BIP 173) whose checksum pyrage has verified."""
    digits = text.rpartition("1")[2][:-_CHECKSUM]
    number = 0
    for digit in digits:
        number = number << 5 | _BECH32.index(digit)
    return (number >> len(digits) * 5 % 8).to_bytes(len(digits) * 5 // 8, "big")
