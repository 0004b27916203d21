"""Tars that this package writes, read by GNU tar and Python; and malformed tars, read by this package."""

from __future__ import annotations

import io
import subprocess
import tarfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igny8_backup.errors import IntegrityError
from igny8_backup.trees.model.owners import Owner
from igny8_backup.trees.tar import format as tar
from igny8_backup.trees.tar.format import (
    END,
    FILE,
    FOLDER,
    HARDLINK,
    RECORD,
    SYMLINK,
    header,
    padding,
    read_tar,
)
from tests.trees.tools import stream

PLAIN: dict[str, Any] = {"mode": 0o644, "owner": Owner(0, 0, "", ""), "mtime_ns": 0}


def member(name: bytes, contents: bytes = b"", kind: bytes = FILE, **fields: Any) -> bytes:
    fields = {**PLAIN, "size": len(contents), **fields}
    return header(name, kind, **fields) + contents + bytes(padding(len(contents)))


def read(data: bytes, block: int = 1 << 20) -> list[tuple[bytes, bytes]]:
    return [(found.path, b"".join(found.contents)) for found in read_tar(stream(data, block))]


def mended(block: bytes) -> bytes:
    """A header block with a correct checksum."""
    blank = block[:148] + b" " * 8 + block[156:]
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]


NAMES = st.binary(min_size=1, max_size=300).map(
    lambda name: name.replace(b"/", b"_").replace(b"\0", b"_").replace(b".", b"_")
)


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(NAMES, st.binary(max_size=1500), max_size=8),
    st.integers(0, 2**32 - 2),
    st.integers(-(2**40), 2**40),
    st.integers(1, 3000),
)
def test_header_any_member_is_read_by_tarfile_and_read_tar(
    files: dict[bytes, bytes], uid: int, mtime: int, block: int
) -> None:
    data = b"".join(
        member(b"./" + name, files[name], owner=Owner(uid, 0, "", ""), mtime_ns=mtime * 10**9 + 5)
        for name in sorted(files)
    )
    assert read(data + END, block) == sorted(files.items())
    assert sum(tar.packed_size(2 + len(name), len(files[name])) for name in files) == len(data)
    with tarfile.open(fileobj=io.BytesIO(data + END), encoding="utf-8") as archive:
        found = {}
        for info in archive:
            assert (info.uid, info.mtime, info.mode, info.type) == (uid, mtime, 0o644, tarfile.REGTYPE)
            contents = archive.extractfile(info)
            assert contents is not None
            found[info.name.encode("utf-8", "surrogateescape").removeprefix(b"./")] = contents.read()
    assert found == files


def test_header_short_member_equals_gnu_tar(tmp_path: Any) -> None:
    (tmp_path / "file").write_bytes(b"contents")
    written = subprocess.run(
        ["tar", "--format=gnu", "--mode=640", "--owner=user:1000", "--group=grp:33", "--mtime=@1700000000"]
        + ["--blocking-factor=1", "-cf", "-", "./file"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    ours = member(
        b"./file", b"contents", mode=0o640, owner=Owner(1000, 33, "user", "grp"), mtime_ns=17 * 10**17
    )
    assert ours + END == written


def test_header_long_name_or_target_equals_gnu_tar(tmp_path: Any) -> None:
    name, target = "n" * 120, "t" * 130
    (tmp_path / name).symlink_to(target)
    written = subprocess.run(
        ["tar", "--format=gnu", "--mode=777", "--numeric-owner", "--owner=0", "--group=0"]
        + ["--mtime=@0", "--blocking-factor=1", "-cf", "-", f"./{name}"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    ours = header(b"./" + name.encode(), SYMLINK, **{**PLAIN, "mode": 0o777}, target=target.encode())
    with (
        tarfile.open(fileobj=io.BytesIO(written)) as theirs,
        tarfile.open(fileobj=io.BytesIO(ours + END)) as us,
    ):
        (one,), (other,) = theirs.getmembers(), us.getmembers()
    assert other.get_info() == one.get_info()
    assert (other.name, other.linkname) == (f"./{name}", target)


def test_header_size_over_8_gib_is_base_256() -> None:
    size = 8**11 + 7
    info = tarfile.TarInfo.frombuf(header(b"./f", FILE, **PLAIN, size=size), "utf-8", "strict")
    assert info.size == size
    (found,) = [next(read_tar(stream(header(b"./f", FILE, **PLAIN, size=size))))]
    assert found.size == size


def test_header_long_user_name_is_omitted() -> None:
    info = tarfile.TarInfo.frombuf(
        header(b"./f", FILE, **{**PLAIN, "owner": Owner(0, 0, "u" * 32, "g" * 31)}), "utf-8", "strict"
    )
    assert (info.uname, info.gname) == ("", "g" * 31)


def test_read_tar_unread_contents_are_skipped() -> None:
    data = member(b"./a", b"x" * 5000) + member(b"./b", b"y" * 700) + END
    assert [found.path for found in read_tar(stream(data, 100))] == [b"a", b"b"]


GOOD = member(b"./" + b"l" * 150, b"long name") + member(b"./z", b"y" * 600)


def test_read_tar_truncated_anywhere_raises() -> None:
    whole = GOOD + END
    assert len(read(whole)) == 2
    for end in range(0, len(whole), 7):
        with pytest.raises(IntegrityError):
            read(whole[:end])


def test_read_tar_flipped_bit_in_header_raises() -> None:
    for at in range(RECORD):
        broken = bytearray(member(b"./z", b"contents") + END)
        broken[at] ^= 0x40
        with pytest.raises(IntegrityError):
            read(bytes(broken))


def with_size(text: bytes) -> bytes:
    block = member(b"./f", b"x" * 512)
    return mended(block[:124] + text + block[136:RECORD]) + block[RECORD:] + END


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a tar at all" * 64,
        member(b"/etc/passwd") + END,
        member(b"f") + END,
        member(b"./") + END,
        member(b"./../f") + END,
        member(b"./a/../../f") + END,
        member(b"./.") + END,
        member(b".//f") + END,
        member(b"./f/") + END,
        member(b"./" + b"d" * 100 + b"/../f") + END,
        member(b"./a", kind=SYMLINK, target=b"/etc") + member(b"./a/passwd") + END,
        member(b"./f", kind=HARDLINK, target=b"/etc/passwd") + END,
        member(b"./f", kind=FOLDER) + END,
        member(b"./f", kind=b"3") + END,
        member(b"./f", kind=b"6") + END,
        member(b"./f", kind=b"\0") + END,
        member(b"./f", kind=b"S") + END,
        member(b"./f", kind=b"x", contents=b"11 path=/x\n") + END,
        member(b"././@LongLink", b"./f\0", kind=b"L") + member(b"././@LongLink", b"./g\0", kind=b"L") + END,
        member(b"././@LongLink", b"./f", kind=b"L") + member(b"./f") + END,
        member(b"././@LongLink", b"./f\0g\0", kind=b"L") + member(b"./f") + END,
        member(b"././@LongLink", b"n" * 1_000_000 + b"\0", kind=b"L") + member(b"./f") + END,
        member(b"././@LongLink", b"./f\0", kind=b"L") + END,
        member(b"./g") + member(b"./f") + END,
        member(b"./f") + END[:RECORD],
        member(b"./f") + END + b"more",
        member(b"./f") + END + bytes(5000) + b"x",
        member(b"./f") + END[:RECORD] + member(b"./g") + END,
        with_size(b"00000001001\0"),
        with_size(b"00000000000\0"),
        with_size(b"-0000000001\0"),
        with_size(b"1_000000000\0"),
        with_size(b"0000000100\0 "),
        with_size(b"\0" * 12),
        with_size(b"\xff" * 12),
        with_size(b"\x80" + b"\xff" * 11),
    ],
)
def test_read_tar_member_no_backup_writes_raises(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        read(data, 1000)


def test_read_tar_error_at_stream_end_is_raised() -> None:
    def broken() -> Any:
        yield GOOD + END
        raise IntegrityError("The digest is wrong.")

    with pytest.raises(IntegrityError, match="digest"):
        list(read_tar(broken()))


def test_padding_any_size_fills_the_record() -> None:
    assert [tar.padding(size) for size in (0, 1, 511, 512, 513)] == [0, 511, 1, 0, 511]
