"""Names: escaped form, order, and the paths that an index may contain."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igny8_backup.errors import IntegrityError
from igny8_backup.trees.model.names import DEPTH_LIMIT, check_path, escape, order, unescape

NAMES = st.binary(min_size=1, max_size=20)
PATHS = st.lists(NAMES.map(lambda name: name.replace(b"/", b"_").replace(b"\0", b"_")), min_size=1).map(
    b"/".join
)


@pytest.mark.parametrize(
    "name, text",
    [
        (b"plain.txt", "plain.txt"),
        ("Zürich ☃".encode(), "Zürich ☃"),
        (b"100%", "100%25"),
        (b"%41", "%2541"),
        (b"caf\xe9", "caf%E9"),
        (b"\xff\n\xc3\xbc%", "%FF\nü%25"),
        (b"\xed\xb2\x80", "%ED%B2%80"),  # a lone surrogate, which is no UTF-8
    ],
)
def test_escape_name_gives_its_one_form(name: bytes, text: str) -> None:
    assert escape(name) == text
    assert unescape(text) == name


@given(st.binary())
def test_escape_any_name_is_reversed_by_unescape(name: bytes) -> None:
    text = escape(name)
    text.encode("utf-8")
    assert unescape(text) == name


@given(st.text(alphabet="%0123456789ABCDEFabü\udce9"))
def test_unescape_any_text_raises_or_is_reversed_by_escape(text: str) -> None:
    try:
        name = unescape(text)
    except IntegrityError:
        return
    assert escape(name) == text


@pytest.mark.parametrize("text", ["%", "%4", "%41", "%zz", "%e9", "%C3%BC", "a\ud800b", "%2525%"])
def test_unescape_other_form_raises(text: str) -> None:
    with pytest.raises(IntegrityError):
        unescape(text)


@given(PATHS, PATHS)
def test_order_paths_sorts_by_components(one: bytes, other: bytes) -> None:
    assert (order(one) < order(other)) == (one.split(b"/") < other.split(b"/"))


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"/",
        b"/etc/passwd",
        b"a//b",
        b"a/",
        b".",
        b"..",
        b"a/../b",
        b"a/.",
        b"a\0b",
    ]
    + [b"/".join([b"a"] * (DEPTH_LIMIT + 1)), b"a" * 200_000],
)
def test_check_path_outside_the_root_raises(path: bytes) -> None:
    with pytest.raises(IntegrityError):
        check_path(path)


@pytest.mark.parametrize(
    "path",
    [b"a", b"a/b", b"...", b".before-x", b"a/..b", b"-", b"\n", b"\xff", b".before-20261122T021500Z"],
)
def test_check_path_odd_but_legal_passes(path: bytes) -> None:
    assert check_path(path) == path
