"""Ed25519 signatures in OpenSSH's format SSHSIG, which ``ssh-keygen -Y verify`` checks.

Source: PROTOCOL.sshsig of OpenSSH, and RFC 8709 for the key and the signature within it. The arithmetic is
that of the library ``cryptography``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SIZE_LIMIT = 4096
"""The largest size of an armored signature in bytes. Those of Ed25519 have about 300."""

_MAGIC, _VERSION, _HASH, _TYPE = b"SSHSIG", 1, b"sha512", b"ssh-ed25519"
_BEGIN, _END = b"-----BEGIN SSH SIGNATURE-----", b"-----END SSH SIGNATURE-----"
_LINE = 70


class BadSignatureError(Exception):
    """The signature is malformed, or does not belong to the message. The text says which."""


def sign(key: Ed25519PrivateKey, message: bytes, namespace: str) -> bytes:
    """Return the armored signature of ``message``.

    ``namespace`` names the kind of the message. :func:`verify` refuses a signature of another namespace.
    """
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    signature = _string(_TYPE) + _string(key.sign(_signed_data(message, namespace)))
    blob = (
        _MAGIC
        + struct.pack(">I", _VERSION)
        + _string(public_blob(public))
        + _string(namespace.encode())
        + _string(b"")
        + _string(_HASH)
        + _string(signature)
    )
    text = base64.b64encode(blob)
    lines = [text[start : start + _LINE] for start in range(0, len(text), _LINE)]
    return b"\n".join([_BEGIN, *lines, _END, b""])


def verify(armored: bytes, message: bytes, namespace: str) -> bytes:
    """Check the signature of ``message``; return the public key, 32 bytes, that belongs to the signing key.

    The caller decides whether that key is trusted. Raises :class:`BadSignatureError`.
    """
    reader = _Reader(_unarmored(armored))
    if reader.take(len(_MAGIC)) != _MAGIC or reader.number() != _VERSION:
        raise BadSignatureError("it is not an SSH signature of version 1")
    key = _Reader(reader.string())
    if key.string() != _TYPE:
        raise BadSignatureError("its key is not of the type ssh-ed25519")
    public = key.string()
    if reader.string() != namespace.encode():
        raise BadSignatureError(f"it was not made for {namespace}")
    if reader.string() or reader.string() != _HASH:
        raise BadSignatureError("its hash is not SHA-512")
    signature = _Reader(reader.string())
    if signature.string() != _TYPE:
        raise BadSignatureError("its type is not ssh-ed25519")
    raw = signature.string()
    if any(part.rest for part in (reader, key, signature)):
        raise BadSignatureError("it has bytes at its end that do not belong there")
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(raw, _signed_data(message, namespace))
    except (InvalidSignature, ValueError):
        raise BadSignatureError(
            "the signature belongs to another document, or the document was altered"
        ) from None
    return public


def public_blob(public: bytes) -> bytes:
    """Return an Ed25519 public key of 32 bytes in the wire format of SSH (RFC 8709, section 4)."""
    return _string(_TYPE) + _string(public)


def public_from_line(line: str) -> bytes:
    """Return the public key, 32 bytes, of a line such as ``ssh-ed25519 AAAA... name``.

    Raises ``ValueError`` if the line is something else.
    """
    kind, _, rest = line.strip().partition(" ")
    if kind.encode() != _TYPE or not rest:
        raise ValueError("it does not begin with ssh-ed25519")
    try:
        blob = _Reader(base64.b64decode(rest.split()[0], validate=True))
        if blob.string() != _TYPE:
            raise ValueError("its key is of another type")
        public = blob.string()
        if blob.rest or len(public) != 32:
            raise ValueError("its key is incomplete or too long")
    except (binascii.Error, BadSignatureError):
        raise ValueError("its key is mistyped or incomplete") from None
    return public


def _signed_data(message: bytes, namespace: str) -> bytes:
    digest = hashlib.sha512(message).digest()
    return _MAGIC + _string(namespace.encode()) + _string(b"") + _string(_HASH) + _string(digest)


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _unarmored(armored: bytes) -> bytes:
    if len(armored) > SIZE_LIMIT:
        raise BadSignatureError("it is too large")
    lines = armored.split()
    text = b" ".join(lines)
    if not (text.startswith(_BEGIN) and text.endswith(_END)):
        raise BadSignatureError("it is not an SSH signature")
    try:
        return base64.b64decode(text[len(_BEGIN) : -len(_END)].replace(b" ", b""), validate=True)
    except binascii.Error:
        raise BadSignatureError("it is not an SSH signature") from None


class _Reader:
    """The fields of a binary message of SSH (RFC 4251, section 5), from start to end."""

    def __init__(self, data: bytes) -> None:
        self.rest = data

    def take(self, size: int) -> bytes:
        if size > len(self.rest):
            raise BadSignatureError("it is incomplete")
        found, self.rest = self.rest[:size], self.rest[size:]
        return found

    def number(self) -> int:
        return int.from_bytes(self.take(4))

    def string(self) -> bytes:
        return self.take(self.number())
