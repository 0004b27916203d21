"""How files begin: the types that their names say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igny8_backup.trees.scan.file_types import HEAD, fits


@pytest.mark.parametrize(
    ("name", "head"),
    [
        (b"a/photo.JPG", b"\xff\xd8\xff\xe0"),
        (b"photo.jpg", b"\x89PNG\r\n\x1a\n"),
        (b"photo.png", b"RIFF\0\0\0\0WEBPVP8 "),
        (b"photo.heic", b"\0\0\0\x18ftypheic"),
        (b"paper.pdf", b"\n%PDF-1.7"),
        (b"letter.docx", b"PK\3\4"),
        (b"film.mp4", b"\0\0\0\x20ftypisom"),
        (b"dump.sql.gz", b"\x1f\x8b\x08"),
        (b"index.html", b"<!doctype html>\n"),
        (b"page.txt", "Grüße\r\n".encode()),
        (b"notepad.txt", b"\xff\xfea\0b\0"),
        (b"empty.jpg", b""),
    ],
)
def test_fits_files_as_programs_write_them(name: bytes, head: bytes) -> None:
    assert fits(name, head) is True


@pytest.mark.parametrize("name", [b"a.jpg", b"a.pdf", b"a.zip", b"a.mp4", b"a.gz", b"a.woff2", b"a.html"])
def test_fits_no_encrypted_file(name: bytes) -> None:
    assert fits(name, b"age-encryption.org/v1\n\0" + bytes(range(256))) is False


@given(st.binary(max_size=20).filter(lambda name: b"." not in name), st.binary(max_size=HEAD))
def test_fits_unknown_types_say_nothing(name: bytes, head: bytes) -> None:
    assert fits(name + b".unknown", head) is None


@given(st.text(alphabet=st.characters(exclude_categories=["C"]), max_size=200))
def test_fits_all_printable_text(text: str) -> None:
    assert fits(b"a.txt", text.encode()) is True
