from __future__ import annotations

import copy
import os
import pickle
import random
import re
import subprocess
import traceback
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igny8_backup.errors import BackupError, IdentityError, IntegrityError, UsageError
from igny8_backup.streams import BLOCK
from igny8_backup.streams.age import (
    Identity,
    decrypt,
    encrypt,
    generate_identity,
    load_identities,
    parse_identities,
    parse_recipients,
)
from igny8_backup.streams.pipeline import from_bytes
from tests.streams.conftest import Program, Source

CHUNK = 64 << 10
SIZES = sorted({0, 1, *(n + d for n in (8192, CHUNK, 2 * CHUNK, BLOCK, 3 * BLOCK) for d in (-1, 0, 1))})

SECRET, RECIPIENT = generate_identity()
IDENTITIES = parse_identities(SECRET)
KEY = next(line for line in SECRET.splitlines() if line.startswith("AGE-SECRET-KEY-1"))
MISTYPED = KEY[:30] + ("Q" if KEY[30] == "X" else "X") + KEY[31:]
OTHER_SECRET, OTHER_RECIPIENT = generate_identity()
OTHER = parse_identities(OTHER_SECRET)


def all_of(stream: Iterable[bytes]) -> bytes:
    return b"".join(stream)


def encrypted(content: bytes, *recipients: str) -> bytes:
    return all_of(encrypt(from_bytes(content), recipients or (RECIPIENT,)))


def decrypted(data: bytes, identities: Sequence[Identity] = IDENTITIES) -> bytes:
    return all_of(decrypt(from_bytes(data), identities))


# --- content


@pytest.mark.parametrize("size", SIZES)
def test_encrypt_then_decrypt_returns_the_content(size: int) -> None:
    content = random.Random(size).randbytes(size)
    blocks = list(encrypt(from_bytes(content), [RECIPIENT]))
    assert all(blocks)
    assert content[:100] not in b"".join(blocks) or size < 2
    again = list(decrypt((block for block in blocks), IDENTITIES))
    assert all(again)
    assert b"".join(again) == content


@given(st.lists(st.binary(min_size=1, max_size=3000), max_size=10), st.integers(1, 5000))
@settings(deadline=None, max_examples=50)
def test_decrypt_accepts_blocks_of_any_size(blocks: list[bytes], cut: int) -> None:
    data = all_of(encrypt((block for block in blocks), [RECIPIENT]))
    pieces = (data[i : i + cut] for i in range(0, len(data), cut))
    assert all_of(decrypt(pieces, IDENTITIES)) == b"".join(blocks)


def test_encrypt_and_decrypt_yield_large_blocks() -> None:
    content = bytes(8 * BLOCK)
    data = list(encrypt(from_bytes(content), [RECIPIENT]))
    assert len(data) <= 10
    assert len(list(decrypt((block for block in data), IDENTITIES))) <= 10


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1, 3 * BLOCK + 7])
def test_encrypt_output_opens_with_age(installed: Program, tmp_path: Path, size: int) -> None:
    content = random.Random(size).randbytes(size)
    (tmp_path / "key").write_text(SECRET)
    argv = [installed("age"), "-d", "-i", str(tmp_path / "key")]
    assert subprocess.run(argv, input=encrypted(content), stdout=-1, check=True).stdout == content


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1, 3 * BLOCK + 7])
@pytest.mark.parametrize("options", [[], ["-r", OTHER_RECIPIENT], ["--armor"]])
def test_decrypt_opens_output_of_age(installed: Program, size: int, options: list[str]) -> None:
    content = random.Random(size).randbytes(size)
    argv = [installed("age"), "-r", RECIPIENT, *options]
    data = subprocess.run(argv, input=content, stdout=-1, check=True).stdout
    assert decrypted(data) == content


def test_decrypt_with_any_recipient_succeeds_and_with_others_fails() -> None:
    data = encrypted(b"content", RECIPIENT, OTHER_RECIPIENT)
    assert decrypted(data, IDENTITIES) == decrypted(data, OTHER) == b"content"
    with pytest.raises(IdentityError, match="not encrypted to this identity"):
        decrypted(data, parse_identities(generate_identity()[0]))


def test_decrypt_with_one_matching_identity_succeeds() -> None:
    assert decrypted(encrypted(b"content"), [*OTHER, *IDENTITIES]) == b"content"


def test_decrypt_with_other_identity_raises_identity_error() -> None:
    with pytest.raises(IdentityError):
        decrypted(encrypted(bytes(3 * BLOCK)), OTHER)
    with pytest.raises(IdentityError):
        decrypted(encrypted(b"content"), [])


# --- damage


def test_decrypt_short_file_truncated_anywhere_raises_integrity_error() -> None:
    data = encrypted(b"short content")
    for length in range(len(data)):
        with pytest.raises(IntegrityError):
            decrypted(data[:length])


def test_decrypt_long_file_truncated_raises_integrity_error() -> None:
    data = encrypted(bytes(3 * BLOCK))
    head = len(data) - 3 * BLOCK - 48 * 16
    chunk_ends = [head + n * (CHUNK + 16) for n in (0, 1, 2, 16, 47)]
    for length in [*chunk_ends, BLOCK, 2 * BLOCK + 1, len(data) - 17, len(data) - 16, len(data) - 1]:
        with pytest.raises(IntegrityError):
            decrypted(data[:length])


def test_decrypt_short_file_with_flipped_bit_raises() -> None:
    """A flipped bit in a recipient stanza raises ``IdentityError``, whose message mentions damage."""
    data = encrypted(b"short content")
    identity_errors = 0
    for bit in range(0, len(data) * 8, 3):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises((IntegrityError, IdentityError)) as caught:
            decrypted(bytes(damaged))
        if isinstance(caught.value, IdentityError):
            identity_errors += 1
            assert "its first bytes were altered" in str(caught.value)
            assert 22 <= bit // 8 < 130
    assert identity_errors < len(data)


def test_decrypt_long_file_with_flipped_bit_raises_integrity_error() -> None:
    data = encrypted(bytes(2 * BLOCK))
    for place in range(CHUNK, len(data), len(data) // 20):
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        with pytest.raises(IntegrityError, match="altered or is incomplete"):
            decrypted(bytes(damaged))


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, BLOCK])
@pytest.mark.parametrize("tail", [b"x", bytes(16), bytes(CHUNK + 16), bytes(2 * BLOCK)])
def test_decrypt_with_trailing_bytes_raises_integrity_error(size: int, tail: bytes) -> None:
    with pytest.raises(IntegrityError):
        decrypted(encrypted(bytes(size)) + tail)


def test_decrypt_two_concatenated_files_raises_integrity_error() -> None:
    with pytest.raises(IntegrityError):
        decrypted(encrypted(b"one") + encrypted(b"two"))


@pytest.mark.parametrize(
    "data", [b"", b"age", b"PGDMP" + bytes(1000), b"age-encryption.org/v2\n" + bytes(99)]
)
def test_decrypt_of_other_data_raises_integrity_error(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        decrypted(data)


# --- streams


def test_decrypt_reads_its_source_to_the_end(source: type[Source]) -> None:
    """A digest or an exit status behind the last byte must be checked."""
    broken = IntegrityError("digest differs")
    with pytest.raises(IntegrityError) as caught:
        all_of(decrypt(source(encrypted(bytes(CHUNK)), error=broken).stream(), IDENTITIES))
    assert caught.value is broken


def test_source_exception_passes_unchanged(source: type[Source]) -> None:
    broken = OSError("connection reset")
    for size in (10, BLOCK, 3 * BLOCK):
        with pytest.raises(OSError) as caught:
            all_of(encrypt(source(bytes(size), error=broken).stream(), [RECIPIENT]))
        assert caught.value is broken
        with pytest.raises(OSError) as caught:
            all_of(decrypt(source(encrypted(bytes(size))[:-5], error=broken).stream(), IDENTITIES))
        assert caught.value is broken


def test_encrypt_with_failing_source_leaves_incomplete_file(source: type[Source]) -> None:
    blocks = []
    with pytest.raises(ConnectionResetError):
        for block in encrypt(source(bytes(3 * BLOCK), error=ConnectionResetError()).stream(), [RECIPIENT]):
            blocks.append(block)
    assert blocks
    with pytest.raises(IntegrityError):
        decrypted(b"".join(blocks))


@pytest.mark.parametrize("taken", [1, 2, 5])
def test_close_before_the_end_closes_the_source(source: type[Source], taken: int) -> None:
    clear = source(*[bytes(BLOCK)] * 10)
    stream = encrypt(clear.stream(), [RECIPIENT])
    for _ in range(taken):
        next(stream)
    stream.close()
    assert clear.closed

    data = encrypted(bytes(10 * BLOCK))
    secret = source(*(data[i : i + BLOCK] for i in range(0, len(data), BLOCK)))
    stream = decrypt(secret.stream(), IDENTITIES)
    for _ in range(taken):
        next(stream)
    stream.close()
    assert secret.closed


def test_nested_streams_decrypt_independently() -> None:
    """Several such threads run at once, one of them the source of another."""
    content = os.urandom(5 * BLOCK + 3)
    twice = encrypt(encrypt(from_bytes(content), [RECIPIENT]), [OTHER_RECIPIENT])
    assert all_of(decrypt(decrypt(twice, OTHER), IDENTITIES)) == content


# --- recipients


def test_parse_recipients_strips_and_keeps_order() -> None:
    assert parse_recipients([f" {RECIPIENT}\n", OTHER_RECIPIENT]) == (RECIPIENT, OTHER_RECIPIENT)
    assert parse_recipients([]) == ()


@pytest.mark.parametrize(
    "wrong", [RECIPIENT[:-1], RECIPIENT[:-1] + "b", RECIPIENT + "q", "age1"], ids=count()
)
def test_parse_recipients_with_typing_error_shows_the_recipient(wrong: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"{wrong}, recipient 2 of 2, is not a valid")):
        parse_recipients([RECIPIENT, wrong])


@pytest.mark.parametrize("wrong", ["", "ops@example.org", "ecdsa-sha2 A", RECIPIENT.upper()], ids=count())
def test_parse_recipients_with_other_text_names_the_position(wrong: str) -> None:
    with pytest.raises(UsageError, match="given as recipient 1 of 1 is not an age recipient"):
        parse_recipients([wrong])


@pytest.mark.parametrize("text", [KEY, KEY.lower(), f"  {KEY}", f"age1{KEY}", f"'{KEY}'"], ids=count())
def test_parse_recipients_with_secret_key_raises_without_printing_it(text: str, source: type[Source]) -> None:
    for attempt in (
        lambda: parse_recipients([RECIPIENT, text]),
        lambda: list(encrypt(source(b"x").stream(), [text])),
    ):
        with pytest.raises(UsageError, match="secret key is given as recipient") as caught:
            attempt()
        assert_secret_free(caught.value)


def test_encrypt_without_valid_recipient_raises_and_closes_source(source: type[Source]) -> None:
    for recipients in ([], ["age1wrong"]):
        blocks = source(b"x", b"y")
        stream = blocks.stream()
        next(stream)
        with pytest.raises(UsageError):
            next(encrypt(stream, recipients))
        assert blocks.closed


# --- identities


def assert_secret_free(error: BaseException) -> None:
    """Assert that nothing that an error may print contains half of the secret or more."""
    printed = "".join(traceback.format_exception(error)) + repr(error) + str(error.args) + repr(vars(error))
    assert KEY[16:40] not in printed.upper()


class WriteKey(Protocol):
    def __call__(self, content: str | bytes, mode: int = ...) -> Path: ...


@pytest.fixture
def key_file(tmp_path: Path) -> WriteKey:
    def write(content: str | bytes, mode: int = 0o600) -> Path:
        path = tmp_path / "identity.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
        return path

    return write


def test_generate_identity_returns_loadable_file(key_file: WriteKey) -> None:
    (identity,) = load_identities(key_file(SECRET))
    assert identity.recipient == RECIPIENT
    assert decrypted(encrypted(b"content"), [identity]) == b"content"
    assert generate_identity() != generate_identity()


def test_generate_identity_output_is_read_by_age_keygen(installed: Program, key_file: WriteKey) -> None:
    printed = subprocess.run([installed("age-keygen"), "-y", key_file(SECRET)], stdout=-1, check=True).stdout
    assert printed.decode().strip() == RECIPIENT


def test_load_identities_reads_output_of_age_keygen(installed: Program, tmp_path: Path) -> None:
    path = tmp_path / "key.txt"
    subprocess.run([installed("age-keygen"), "-o", path], check=True, stderr=subprocess.DEVNULL)
    (identity,) = load_identities(path)
    assert f"# public key: {identity.recipient}\n" in path.read_text()


def test_load_identities_accepts_comments_blanks_and_several_keys(key_file: WriteKey) -> None:
    text = f"# created: today\r\n\r\n{KEY}  \r\n\n# the old one\n{OTHER_SECRET}"
    assert [identity.recipient for identity in load_identities(key_file(text))] == [
        RECIPIENT,
        OTHER_RECIPIENT,
    ]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o777])
def test_load_identities_from_file_open_to_others_names_chmod(key_file: WriteKey, mode: int) -> None:
    path = key_file(SECRET, mode)
    with pytest.raises(
        IdentityError, match=f"open to other users. Nothing was changed. Run: chmod 600 {path}"
    ):
        load_identities(path)
    path.chmod(0o400)
    assert load_identities(path)


def test_load_identities_reads_a_pipe() -> None:
    reader, writer = os.pipe()
    os.write(writer, SECRET.encode())
    os.close(writer)
    try:
        assert load_identities(f"/dev/fd/{reader}")[0].recipient == RECIPIENT
    finally:
        os.close(reader)


def test_load_identities_ignores_mode_of_named_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "pipe").chmod(0o644)
    (tmp_path / "key").write_text(SECRET)
    with subprocess.Popen(["sh", "-c", "cat key >pipe"], cwd=tmp_path):
        assert load_identities(tmp_path / "pipe")[0].recipient == RECIPIENT


def test_load_identities_unreadable_file_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match=f"{tmp_path}/none cannot be read: No such file"):
        load_identities(tmp_path / "none")
    with pytest.raises(IdentityError, match="cannot be read: Is a directory"):
        load_identities(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "There is no identity in"),
        ("# only a comment\n", "There is no identity in"),
        (f"{KEY[:-1]}\n", "Line 1 of .* is not an age identity"),
        (f"{KEY}\n{MISTYPED}\n", "Line 2 of .* is not an age identity"),
        (f"{RECIPIENT}\n", "Line 1 of .* is not"),
        (f"key = {KEY}\n", "Line 1 of .* is not"),
        (b"\xff\xfe" + KEY.encode("utf-16"), "is not an age identity file"),
        (
            b"age-encryption.org/v1\n-> scrypt ",
            "is itself encrypted. Nothing was changed. Run the command on a terminal",
        ),
        ("-----BEGIN AGE ENCRYPTED FILE-----\n", "is itself encrypted"),
    ],
    ids=count(),
)
def test_load_identities_malformed_file_raises_without_its_content(
    key_file: WriteKey, content: str | bytes, message: str
) -> None:
    with pytest.raises(IdentityError, match=message) as caught:
        load_identities(key_file(content))
    assert_secret_free(caught.value)


def test_load_identities_of_huge_file_raises(key_file: WriteKey) -> None:
    with pytest.raises(IdentityError):
        load_identities(key_file(f"{KEY}\n" + "# padding\n" * 200_000))


def test_load_identities_with_key_as_path_raises_without_printing_it() -> None:
    for path in (KEY, KEY.lower(), f"/tmp/{KEY}"):
        with pytest.raises(IdentityError, match="instead of the path") as caught:
            load_identities(path)
        assert_secret_free(caught.value)


def test_identity_repr_and_pickle_reveal_no_secret() -> None:
    (identity,) = IDENTITIES
    for shown in (repr(identity), str(identity), f"{identity}", repr(IDENTITIES), repr({"key": identity})):
        assert KEY[16:40] not in shown.upper()
        assert RECIPIENT in shown
    for leave in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled") as caught:
            leave(identity)
        assert_secret_free(caught.value)


def test_decrypt_errors_reveal_no_secret() -> None:
    for data, identities in (
        (encrypted(b"x", OTHER_RECIPIENT), IDENTITIES),
        (encrypted(b"x")[:-1], IDENTITIES),
    ):
        with pytest.raises(BackupError) as caught:
            decrypted(data, identities)
        assert_secret_free(caught.value)
