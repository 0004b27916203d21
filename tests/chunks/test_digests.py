"""The keyed digests of chunks."""

from __future__ import annotations

import hashlib

import pytest

from igny8_backup.chunks.digests import BLAKE2B, DIGEST_BYTES, KEY_BYTES, SHA256, DigestKey, is_key

SECRET = bytes(range(KEY_BYTES))


def test_blake2b_is_used_with_its_own_key() -> None:
    expected = hashlib.blake2b(b"a chunk", key=SECRET, digest_size=16).digest()
    assert DigestKey(SECRET).digest(memoryview(b"a chunk")) == expected


def test_sha_256_has_the_key_as_its_first_block() -> None:
    expected = hashlib.sha256(SECRET + bytes(32) + b"a chunk").digest()[:16]
    key = DigestKey(SECRET, SHA256)
    assert key.digest(memoryview(b"a chunk")) == expected
    assert key.digest(b"a chunk") == expected  # the first digest has left nothing behind


@pytest.mark.parametrize("algorithm", [BLAKE2B, SHA256])
def test_another_secret_gives_another_digest(algorithm: str) -> None:
    first, second = DigestKey(SECRET, algorithm), DigestKey(SECRET[::-1], algorithm)
    assert first.digest(b"a chunk") != second.digest(b"a chunk")
    assert len(first.digest(b"")) == DIGEST_BYTES


@pytest.mark.parametrize("algorithm", [BLAKE2B, SHA256])
def test_a_key_is_read_as_it_was_written(algorithm: str) -> None:
    key = DigestKey(SECRET, algorithm)
    assert DigestKey.parse(key.text) == key
    assert is_key(key.text)


def test_the_key_of_an_older_map_is_one_for_blake2b() -> None:
    assert DigestKey.parse(SECRET.hex()) == DigestKey(SECRET, BLAKE2B)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        "sha256:",
        "zz" * 32,
        ":" + "00" * 32,
        "md5:" + "00" * 32,
        "blake2b:" + "00" * 32,
        "SHA256:" + "00" * 32,
        "00 " * 32,
    ],
)
def test_a_malformed_key_is_refused(text: str) -> None:
    assert not is_key(text)
    with pytest.raises(ValueError):
        DigestKey.parse(text)


def test_a_new_key_is_random_and_of_a_known_algorithm() -> None:
    first, second = DigestKey.new(), DigestKey.new()
    assert first.secret != second.secret
    assert first.algorithm in (BLAKE2B, SHA256)


def test_a_key_does_not_show_its_secret() -> None:
    assert SECRET.hex()[:8] not in repr(DigestKey(SECRET))
    assert repr(SECRET)[2:20] not in repr(DigestKey(SECRET))
