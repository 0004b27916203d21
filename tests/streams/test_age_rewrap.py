"""New recipients for an existing age file: only its header changes, and the real age opens it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igny8_backup.errors import IdentityError, IntegrityError, UsageError
from igny8_backup.streams.age import (
    Identity,
    decrypt,
    encrypt,
    generate_identity,
    load_identities,
    opens,
    parse_identities,
    require_rotatable,
    rewrap,
)
from igny8_backup.streams.age.header import LIMIT
from igny8_backup.streams.age.stanzas import Stanza, parse_header, write_header
from igny8_backup.streams.pipeline import from_bytes
from tests.streams.conftest import Program
from tests.streams.test_age_keys import MakeKey, plugin, ssh_key

__all__ = ["plugin", "ssh_key"]

OLD, NEW, OTHER = (generate_identity() for _ in range(3))
CONTENT = b"content" * 20_000


def identities(pair: tuple[str, str]) -> list[Identity]:
    return parse_identities(pair[0])


def encrypted(*recipients: str) -> bytes:
    return b"".join(encrypt(from_bytes(CONTENT), recipients))


def rewrapped(data: bytes, old: list[Identity], *recipients: str) -> bytes:
    return b"".join(rewrap(from_bytes(data), old, recipients))


def decrypted(data: bytes, keys: list[Identity]) -> bytes:
    return b"".join(decrypt(from_bytes(data), keys))


def test_rewrap_changes_the_header_and_nothing_else() -> None:
    data = encrypted(OLD[1], OTHER[1])
    made = rewrapped(data, identities(OLD), NEW[1])
    assert decrypted(made, identities(NEW)) == CONTENT
    for pair in (OLD, OTHER):
        assert not opens(from_bytes(made), identities(pair))
    assert (
        made.partition(b"\n--- ")[2].partition(b"\n")[2] == data.partition(b"\n--- ")[2].partition(b"\n")[2]
    )


def test_rewrap_adds_a_recipient_and_removes_it_again() -> None:
    both = rewrapped(encrypted(OLD[1]), identities(OLD), OLD[1], NEW[1])
    assert decrypted(both, identities(OLD)) == decrypted(both, identities(NEW)) == CONTENT
    assert not opens(from_bytes(rewrapped(both, identities(NEW), OLD[1])), identities(NEW))


@pytest.mark.parametrize("options", [["-t", "ed25519"], ["-t", "rsa"]], ids=["ed25519", "rsa"])
def test_rewrap_to_and_from_ssh_keys_is_opened_by_age(
    ssh_key: MakeKey, installed: Program, options: list[str], tmp_path: Path
) -> None:
    key = ssh_key(*options)
    (identity,) = load_identities(key)
    made = rewrapped(encrypted(OLD[1]), identities(OLD), identity.recipient, NEW[1])
    argv = [installed("age"), "-d", "-i", str(key)]
    assert subprocess.run(argv, input=made, stdout=-1, check=True).stdout == CONTENT
    assert decrypted(made, [identity]) == CONTENT
    back = rewrapped(made, [identity], OTHER[1])
    file = tmp_path / "identity"
    file.write_text(OTHER[0])
    argv = [installed("age"), "-d", "-i", str(file)]
    assert subprocess.run(argv, input=back, stdout=-1, check=True).stdout == CONTENT


def test_rewrap_of_a_file_of_the_program_age(installed: Program) -> None:
    argv = [installed("age"), "-e", "-r", OTHER[1], "-r", OLD[1]]
    data = subprocess.run(argv, input=CONTENT, stdout=-1, check=True).stdout
    assert decrypted(rewrapped(data, identities(OLD), NEW[1]), identities(NEW)) == CONTENT


def test_rewrap_without_the_right_identity_is_refused(plugin: None, tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="is not encrypted to this identity"):
        rewrapped(encrypted(OLD[1]), identities(OTHER), NEW[1])
    fake = parse_identities("AGE-PLUGIN-FAKE-1QYPQXPQQCNWJ0")
    with pytest.raises(IdentityError, match="it is a plugin's identity"):
        rewrapped(encrypted("age1fake1qypqxpqyf63c0"), fake, NEW[1])


def test_rewrap_to_a_plugin_is_refused(plugin: None) -> None:
    require_rotatable([NEW[1]])
    with pytest.raises(UsageError, match="the key of a plugin"):
        require_rotatable([NEW[1], "age1fake1qypqxpqyf63c0"])


@given(position=st.integers(0, 10_000))
def test_rewrap_refuses_an_altered_header(position: int) -> None:
    data = bytearray(ALTERED)
    end = data.index(b"\n--- ") + 49
    data[position % end] ^= 1
    with pytest.raises((IntegrityError, IdentityError)):
        rewrapped(bytes(data), identities(OLD), NEW[1])


ALTERED = encrypted(OLD[1])


@pytest.mark.parametrize(
    "data", [b"", b"age-encryption.org/v1\n", b"x" * (LIMIT + 1)], ids=["no", "cut", "x"]
)
def test_rewrap_without_a_header_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="no complete age header"):
        rewrapped(data, identities(OLD), NEW[1])


_ARGUMENTS = st.lists(st.text("!#$azAZ09+/", min_size=1), min_size=1).map(tuple)


@given(stanzas=st.lists(st.builds(Stanza, _ARGUMENTS, st.binary(max_size=200)), max_size=4).map(tuple))
def test_headers_are_parsed_as_they_were_written(stanzas: tuple[Stanza, ...]) -> None:
    signed = write_header(stanzas)
    found = parse_header(signed + b" " + b"A" * 43 + b"\n")
    assert found.stanzas == stanzas and found.signed == signed and found.mac == bytes(32)
