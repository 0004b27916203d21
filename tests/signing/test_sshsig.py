"""Signatures in OpenSSH's format, held against the real ssh-keygen."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from igny8_backup.signing import signing_key, sshsig
from igny8_backup.signing.sshsig import BadSignatureError
from igny8_backup.signing.trust import MANIFEST, PIN, namespace
from tests.services import unavailable

KEY, FILE = signing_key.generate()
SPACE = namespace(MANIFEST)


def keygen(*words: str | Path, message: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("ssh-keygen") or unavailable("ssh-keygen is not installed.")
    return subprocess.run([program, *map(str, words)], input=message, capture_output=True)


@given(st.binary(max_size=200))
def test_verify_own_signature_returns_the_key(message: bytes) -> None:
    assert sshsig.verify(KEY.sign(message, SPACE), message, SPACE) == KEY.public


def test_sign_is_accepted_by_ssh_keygen(tmp_path: Path) -> None:
    message = b"a manifest\n" * 1000
    (tmp_path / "signature").write_bytes(KEY.sign(message, SPACE))
    (tmp_path / "allowed").write_text(f"web-1 {KEY.public_line}\n")
    words = ("-Y", "verify", "-f", tmp_path / "allowed", "-I", "web-1", "-s", tmp_path / "signature", "-n")
    good = keygen(*words, SPACE, message=message)
    assert good.returncode == 0, good.stderr
    assert keygen(*words, SPACE, message=message + b" ").returncode != 0
    assert keygen(*words, namespace(PIN), message=message).returncode != 0


def test_verify_signature_of_ssh_keygen_returns_the_key(tmp_path: Path) -> None:
    made = keygen("-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key")
    assert made.returncode == 0, made.stderr
    message = b"a manifest\n"
    signed = keygen("-Y", "sign", "-f", tmp_path / "key", "-n", SPACE, message=message)
    public = sshsig.public_from_line((tmp_path / "key.pub").read_text())
    assert sshsig.verify(signed.stdout, message, SPACE) == public == signing_key.load(tmp_path / "key").public


def test_verify_another_message_or_namespace_is_refused() -> None:
    signature = KEY.sign(b"one", SPACE)
    with pytest.raises(BadSignatureError, match="belongs to another document"):
        sshsig.verify(signature, b"two", SPACE)
    with pytest.raises(BadSignatureError, match="was not made for"):
        sshsig.verify(signature, b"one", namespace(PIN))


@given(st.binary(max_size=400))
def test_verify_garbage_is_refused(data: bytes) -> None:
    for armored in (data, _armored(data), _armored(b"SSHSIG\0\0\0\1" + data)):
        with pytest.raises(BadSignatureError):
            sshsig.verify(armored, b"one", SPACE)


@given(st.data())
def test_verify_any_changed_byte_is_refused(data: st.DataObject) -> None:
    signature = KEY.sign(b"one", SPACE)
    blob = bytearray(base64.b64decode(b"".join(signature.split(b"\n")[1:-2])))
    place = data.draw(st.integers(0, len(blob) - 1))
    blob[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BadSignatureError):
        if sshsig.verify(_armored(bytes(blob)), b"one", SPACE) != KEY.public:
            raise BadSignatureError("another key")


def test_verify_oversized_or_extended_signature_is_refused() -> None:
    signature = KEY.sign(b"one", SPACE)
    with pytest.raises(BadSignatureError, match="too large"):
        sshsig.verify(signature + b"\n" * sshsig.SIZE_LIMIT, b"one", SPACE)
    blob = base64.b64decode(b"".join(signature.split(b"\n")[1:-2]))
    with pytest.raises(BadSignatureError, match="at its end"):
        sshsig.verify(_armored(blob + b"x"), b"one", SPACE)


@pytest.mark.parametrize("line", ["", "ssh-rsa AAAA", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-ed25519 !"])
def test_public_from_line_of_another_kind_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="it"):
        sshsig.public_from_line(line)


def test_public_from_line_cut_short_is_refused() -> None:
    with pytest.raises(ValueError, match="it"):
        sshsig.public_from_line(KEY.public_line[:-4])


def test_public_from_line_ignores_the_comment() -> None:
    assert sshsig.public_from_line(f" {KEY.public_line} web-1 of the shop\n") == KEY.public


def test_load_reads_what_generate_wrote(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(FILE)
    path.chmod(0o600)
    loaded = signing_key.load(path)
    assert loaded.public == KEY.public
    assert "PRIVATE" not in repr(loaded) and KEY.public_line in repr(loaded)


def test_sign_with_one_key_is_not_that_of_another() -> None:
    other = Ed25519PrivateKey.generate()
    assert sshsig.verify(sshsig.sign(other, b"one", SPACE), b"one", SPACE) != KEY.public


def _armored(blob: bytes) -> bytes:
    return b"-----BEGIN SSH SIGNATURE-----\n" + base64.b64encode(blob) + b"\n-----END SSH SIGNATURE-----\n"
