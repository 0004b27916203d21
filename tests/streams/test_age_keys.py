"""Recipients and identities of every kind: SSH keys, plugins, identity files with a passphrase."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from igny8_backup.errors import IdentityError, IntegrityError, UsageError
from igny8_backup.streams import BLOCK, Blocks
from igny8_backup.streams.age import (
    Identity,
    decrypt,
    encrypt,
    generate_identity,
    load_identities,
    opens,
    parse_identities,
    parse_recipients,
    protect_identity,
)
from igny8_backup.streams.age.header import LIMIT
from igny8_backup.streams.pipeline import from_bytes
from tests.streams import age_plugin
from tests.streams.conftest import Program

SECRET, RECIPIENT = generate_identity()
IDENTITIES = parse_identities(SECRET)
PASSPHRASE = "correct horse"
PLUGIN_RECIPIENT, PLUGIN_IDENTITY = "age1fake1qypqxpqyf63c0", "AGE-PLUGIN-FAKE-1QYPQXPQQCNWJ0"
CONTENT = b"content" * 1000

MakeKey = Callable[..., Path]


@pytest.fixture
def ssh_key(installed: Program, tmp_path: Path) -> MakeKey:
    """A function that makes a private SSH key; the public key is beside it."""

    def make(*options: str, secret: str = "") -> Path:
        path = tmp_path / f"ssh-{len(list(tmp_path.iterdir()))}"
        argv = [installed("ssh-keygen"), "-q", *options, "-N", secret, "-f", str(path)]
        subprocess.run(argv, check=True)
        return path

    return make


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program age-plugin-fake on the PATH."""
    program = tmp_path / "bin/age-plugin-fake"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n{Path(age_plugin.__file__).read_text()}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def encrypted(*recipients: str, content: bytes = CONTENT) -> bytes:
    return b"".join(encrypt(from_bytes(content), recipients))


def decrypted(data: bytes, identities: list[Identity]) -> bytes:
    return b"".join(decrypt(from_bytes(data), identities))


def answer(*secrets: str) -> Callable[[str], str | None]:
    """Return a function that gives these passphrases, one after the other."""
    rest = list(secrets)
    return lambda name: rest.pop(0) if rest else None


# --- SSH keys


@pytest.mark.parametrize("options", [["-t", "ed25519"], ["-t", "rsa"], ["-t", "rsa", "-m", "PEM"]])
def test_ssh_key_opens_what_is_encrypted_to_it(
    ssh_key: MakeKey, installed: Program, options: list[str]
) -> None:
    key = ssh_key(*options)
    line = Path(f"{key}.pub").read_text()
    (recipient,) = parse_recipients([line])
    assert recipient == " ".join(line.split()[:2])
    data = encrypted(recipient, RECIPIENT)
    (identity,) = load_identities(key)
    assert identity.recipient == recipient
    assert decrypted(data, [identity]) == decrypted(data, IDENTITIES) == CONTENT
    argv = [installed("age"), "-d", "-i", str(key)]
    assert subprocess.run(argv, input=data, stdout=-1, check=True).stdout == CONTENT


def test_ssh_key_of_another_type_is_refused(ssh_key: MakeKey) -> None:
    key = ssh_key("-t", "ecdsa")
    with pytest.raises(IdentityError, match="ssh-ed25519 or ssh-rsa"):
        load_identities(key)
    with pytest.raises(UsageError, match="is not an age recipient"):
        parse_recipients([Path(f"{key}.pub").read_text()])


def test_ssh_key_with_a_passphrase_asks_for_it(ssh_key: MakeKey) -> None:
    pytest.importorskip("bcrypt")
    key = ssh_key("-t", "ed25519", "-a", "1", secret="correct horse")
    data = encrypted(Path(f"{key}.pub").read_text())
    assert decrypted(data, load_identities(key, answer("correct horse"))) == CONTENT
    with pytest.raises(IdentityError, match="its passphrase differs"):
        load_identities(key, answer("wrong"))
    with pytest.raises(IdentityError, match="has a passphrase.*on a terminal"):
        load_identities(key)


@pytest.mark.parametrize("line", ["ssh-ed25519", "ssh-ed25519 AAAA", "ssh-rsa AAAAB3NzaC1yc2E= ops"])
def test_parse_recipients_damaged_ssh_key_is_named(line: str) -> None:
    with pytest.raises(UsageError, match="recipient 1 of 1, is not a valid SSH recipient"):
        parse_recipients([line])


def test_parse_recipients_private_key_is_refused_and_not_shown(ssh_key: MakeKey) -> None:
    text = ssh_key("-t", "ed25519").read_text()
    for secret in (text, PLUGIN_IDENTITY):
        with pytest.raises(UsageError, match="secret key is given as recipient") as caught:
            parse_recipients([secret])
        assert secret.splitlines()[-2 if secret == text else 0][:30] not in str(caught.value)


# --- plugins


@pytest.mark.usefixtures("plugin")
def test_plugin_wraps_and_unwraps_the_file_key(tmp_path: Path) -> None:
    data = encrypted(PLUGIN_RECIPIENT, RECIPIENT)
    (tmp_path / "key").write_text(f"{PLUGIN_IDENTITY}\n")
    (tmp_path / "key").chmod(0o600)
    (identity,) = load_identities(tmp_path / "key")
    assert identity.recipient == "age-plugin-fake"
    assert decrypted(data, [identity]) == decrypted(data, IDENTITIES) == CONTENT
    assert opens(from_bytes(data), [identity])


def test_plugin_that_is_not_installed_is_named() -> None:
    with pytest.raises(UsageError, match="age-plugin-fake, which recipient 2 of 2 needs"):
        parse_recipients([RECIPIENT, PLUGIN_RECIPIENT])
    with pytest.raises(IdentityError, match="Install age-plugin-fake"):
        parse_identities(PLUGIN_IDENTITY)


@pytest.mark.usefixtures("plugin")
def test_plugin_key_that_is_mistyped_is_named() -> None:
    with pytest.raises(UsageError, match="is not a valid recipient of a plugin"):
        parse_recipients([PLUGIN_RECIPIENT[:-1]])
    with pytest.raises(IdentityError, match="Line 1 of the identity file is not an age identity"):
        parse_identities(PLUGIN_IDENTITY[:-1])


def test_plugin_that_fails_fails_the_encryption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "age-plugin-fake"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(UsageError, match="cannot be encrypted to the recipients"):
        encrypted(PLUGIN_RECIPIENT)


# --- identity files with a passphrase


@pytest.fixture(scope="module")
def _protected() -> bytes:
    return protect_identity(SECRET, PASSPHRASE)


@pytest.fixture
def protected(tmp_path: Path, _protected: bytes) -> Path:
    """An identity file with a passphrase."""
    file = tmp_path / "key"
    file.touch(mode=0o600)
    file.write_bytes(_protected)
    return file


@pytest.mark.slow
def test_protected_identity_file_opens_with_its_passphrase(protected: Path) -> None:
    assert b"SECRET" not in protected.read_bytes()
    (identity,) = load_identities(protected, answer("wrong", PASSPHRASE))
    assert identity.recipient == RECIPIENT


@pytest.mark.slow
def test_protected_identity_file_without_the_passphrase_stays_closed(protected: Path) -> None:
    with pytest.raises(IdentityError, match="The passphrase does not open"):
        load_identities(protected, answer("a", "b", "c", PASSPHRASE))
    with pytest.raises(IdentityError, match="is itself encrypted.*on a terminal"):
        load_identities(protected)


@pytest.mark.slow
def test_damaged_protected_identity_file_is_refused(protected: Path) -> None:
    lines = protected.read_bytes().split(b"\n")
    for damaged in (lines[:2], [lines[0], b"*" * 64, *lines[2:]], [*lines[:3], lines[4]]):
        protected.write_bytes(b"\n".join(damaged))
        with pytest.raises(IdentityError):
            load_identities(protected, answer(PASSPHRASE, PASSPHRASE, PASSPHRASE))


def test_identity_file_encrypted_to_a_key_asks_for_no_passphrase(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.touch(mode=0o600)
    file.write_bytes(encrypted(RECIPIENT, content=SECRET.encode()))
    with pytest.raises(IdentityError, match="Decrypt it with age: --identity"):
        load_identities(file, answer("never asked"))


# --- headers


def test_opens_reads_only_the_header() -> None:
    data = encrypted(RECIPIENT, content=bytes(3 * BLOCK))
    taken = []

    def blocks() -> Blocks:
        for start in range(0, len(data), 100):
            taken.append(start)
            yield data[start : start + 100]

    assert opens(blocks(), IDENTITIES)
    assert len(taken) <= 4
    other = parse_identities(generate_identity()[0])
    assert not opens(from_bytes(data), other)
    assert opens(from_bytes(data), [*other, *IDENTITIES])


def test_opens_with_an_altered_or_missing_header_raises() -> None:
    data = encrypted(RECIPIENT)
    mac = data.index(b"\n--- ") + 10
    altered = data[:mac] + (b"A" if data[mac : mac + 1] != b"A" else b"B") + data[mac + 1 :]
    for damaged in (altered, b"", b"age-encryption.org/v1\n", data[:100], bytes(3 * LIMIT)):
        with pytest.raises(IntegrityError):
            opens(from_bytes(damaged), IDENTITIES)
