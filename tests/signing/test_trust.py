"""Whose signature counts for what."""

from __future__ import annotations

from pathlib import Path

import pytest

from igny8_backup.errors import IdentityError
from igny8_backup.signing import signing_key
from igny8_backup.signing.trust import CHECK, MANIFEST, UNSIGNED, Trust, TrustedKey, namespace

KEY, FILE = signing_key.generate()
OTHER, _ = signing_key.generate()
MESSAGE = b"a manifest"


def judge(key: TrustedKey, *, host: str = "web-1", parts: tuple[str, ...] = ("uploads",)) -> str:
    signature = KEY.sign(MESSAGE, namespace(MANIFEST))
    return Trust((key,)).judge(signature, MESSAGE, kind=MANIFEST, host=host, parts=parts).problem


def test_judge_trusted_key_counts() -> None:
    verdict = Trust((TrustedKey(name="web", public=KEY.public),)).judge(
        KEY.sign(MESSAGE, namespace(MANIFEST)), MESSAGE, kind=MANIFEST, host="web-1"
    )
    assert verdict.trusted and verdict.signer == "web"


def test_judge_missing_signature_does_not_count() -> None:
    assert Trust().judge(None, MESSAGE, kind=MANIFEST, host="web-1") == UNSIGNED
    assert not UNSIGNED.trusted


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        (TrustedKey(name="web", public=OTHER.public), "do not trust"),
        (TrustedKey(name="web", public=KEY.public, revoked=True), "is revoked"),
        (TrustedKey(name="web", public=KEY.public, kinds=(CHECK,)), "may not sign a manifest"),
        (TrustedKey(name="web", public=KEY.public, hosts=("web-2",)), "for the host web-1"),
        (TrustedKey(name="web", public=KEY.public, parts=("default",)), "for uploads"),
    ],
)
def test_judge_key_without_the_right_does_not_count(key: TrustedKey, problem: str) -> None:
    assert problem in judge(key)


def test_judge_key_for_host_and_parts_counts() -> None:
    limited = TrustedKey(name="web", public=KEY.public, hosts=("web-1",), parts=("uploads", "sites"))
    assert judge(limited) == ""
    assert "for default" in judge(limited, parts=("uploads", "default"))


def test_judge_part_of_another_kind_with_the_same_name_does_not_count() -> None:
    web = TrustedKey(name="web", public=KEY.public, parts=("files:default",))
    assert judge(web, parts=("files:default",)) == ""
    assert "for the database default" in judge(web, parts=("database:default",))
    assert "for default" in judge(web, parts=("default",)), "an old document does not say which one"
    both = TrustedKey(name="web", public=KEY.public, parts=("files:default", "database:default"))
    assert judge(both, parts=("default",)) == ""
    by_name = TrustedKey(name="web", public=KEY.public, parts=("default",))
    assert judge(by_name, parts=("database:default", "files:default", "default")) == ""


def test_judge_signature_of_another_kind_does_not_count() -> None:
    trust = Trust((TrustedKey(name="web", public=KEY.public),))
    signature = KEY.sign(MESSAGE, namespace(CHECK))
    assert "was not made for" in trust.judge(signature, MESSAGE, kind=MANIFEST, host="web-1").problem


def test_load_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(FILE)
    path.chmod(0o640)
    with pytest.raises(IdentityError, match="Other users may read"):
        signing_key.load(path)


@pytest.mark.parametrize("content", [b"", b"AGE-SECRET-KEY-1", FILE[:-60]], ids=["empty", "age", "cut"])
def test_load_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(IdentityError, match="is not an Ed25519 key"):
        signing_key.load(path)
    with pytest.raises(IdentityError, match="cannot be read"):
        signing_key.load(tmp_path / "missing")
