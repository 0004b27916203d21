"""The keyed digests of chunks, by which a map recognises a chunk: :class:`DigestKey`.

There are two algorithms, because which one is faster depends on the instructions of the processor and on how
Python was built. A map keeps its algorithm, and a new map gets the faster one.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

DIGEST_BYTES = 16
"""The size in bytes of the keyed digest of a chunk."""
KEY_BYTES = 32
"""The size in bytes of the secret key of these digests."""
BLAKE2B, SHA256 = "blake2b", "sha256"
_SHA256_BLOCK = 64
_SAMPLE = bytes(64 << 10)

Digest = Callable[[bytes | memoryview], bytes]


@dataclass(frozen=True)
class DigestKey:
    """The secret key of the digests in a map, and their algorithm: ``BLAKE2B`` or ``SHA256``.

    Without the secret, nobody can construct two chunks of the same digest, or recognise a chunk by its
    digest. BLAKE2b has a key of its own (RFC 7693, section 2.9). With SHA-256, the key is the first block of
    the input. That needs no HMAC (RFC 2104), because half of the digest is dropped: nobody can compute the
    digest of a longer input from it.
    """

    secret: bytes = field(repr=False)
    algorithm: str = BLAKE2B

    @classmethod
    def new(cls) -> DigestKey:
        """Return a random key for the algorithm that is faster here."""
        return min((cls(secrets.token_bytes(KEY_BYTES), name) for name in (BLAKE2B, SHA256)), key=_seconds)

    @classmethod
    def parse(cls, text: str) -> DigestKey:
        """Return the key that a map or a log has as ``text``. Raises ``ValueError`` if it is malformed."""
        first, colon, rest = text.rpartition(":")
        key = cls(bytes.fromhex(rest), first if colon else BLAKE2B)
        if len(key.secret) != KEY_BYTES or key.text != text:
            raise ValueError("The key of the digests is malformed.")
        return key

    @property
    def text(self) -> str:
        """The key as maps and logs have it: hexadecimal digits, after ``sha256:`` for that algorithm."""
        return ("" if self.algorithm == BLAKE2B else f"{SHA256}:") + self.secret.hex()

    @cached_property
    def digest(self) -> Digest:
        """The function that returns the digest of a chunk."""
        return _sha256(self.secret) if self.algorithm == SHA256 else _blake2b(self.secret)


def is_key(text: str) -> bool:
    """Return whether ``text`` is a key, as :attr:`DigestKey.text` writes it."""
    with suppress(ValueError):
        return bool(DigestKey.parse(text))
    return False


def _blake2b(secret: bytes) -> Digest:
    def digest(chunk: bytes | memoryview) -> bytes:
        return hashlib.blake2b(chunk, key=secret, digest_size=DIGEST_BYTES).digest()

    return digest


def _sha256(secret: bytes) -> Digest:
    keyed = hashlib.sha256(secret.ljust(_SHA256_BLOCK, b"\0"))

    def digest(chunk: bytes | memoryview) -> bytes:
        found = keyed.copy()
        found.update(chunk)
        return found.digest()[:DIGEST_BYTES]

    return digest


def _seconds(key: DigestKey) -> float:
    """Return the shortest time of a few digests. On a busy machine, the slower algorithm can win."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        key.digest(_SAMPLE)
        times.append(time.perf_counter() - start)
    return min(times)
