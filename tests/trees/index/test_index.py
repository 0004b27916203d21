"""The index: format, round trip, and malformed indexes."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igny8_backup.errors import IntegrityError
from igny8_backup.trees.index import index
from igny8_backup.trees.index.index import HEADER, LINE_LIMIT, IndexWriter
from igny8_backup.trees.model.names import DEPTH_LIMIT, order
from igny8_backup.trees.model.records import Record, from_json, to_json, to_line
from igny8_backup.trees.model.xattrs import SIZE_LIMIT
from tests.trees.tools import stream

ROOT = Record(
    path=b"",
    kind="dir",
    mode=0o2755,
    uid=0,
    gid=33,
    user="root",
    group="www-data",
    size=4096,
    mtime_ns=1_700_000_000_123_456_789,
    ctime_ns=1_700_000_000_987_654_321,
    inode=2,
)
FOLDER = ROOT._replace(path=b"a", xattrs=(("user.x", b"\0\xff"),))
FILE = ROOT._replace(
    path=b"a/b\xe9", kind="file", sha256="0" * 64, pack="20261122T021500Z-7f3a9c-0001", size=2**40
)
LINK = ROOT._replace(path=b"a/c", kind="symlink", target=b"../\xff\n%")
RENAMED = FILE._replace(path=b"a/bb", member=b'old "\xe9"/b', xattrs=(("user.x", b"y"),))
HARD = ROOT._replace(path=b"d\nd", kind="hardlink", target=b"a/b\xe9", mtime_ns=-1)
RECORDS = [ROOT, FOLDER, RENAMED, FILE, LINK, HARD]


def written(records: list[Record]) -> bytes:
    file = io.BytesIO()
    writer = IndexWriter(file)
    for record in records:
        writer.add(record)
    writer.finish()
    return file.getvalue()


def lines(*fields: Any) -> bytes:
    return b"".join(json.dumps(field).encode() + b"\n" for field in fields)


def sound(*fields: dict[str, Any]) -> bytes:
    """An index of the root and these objects, with a correct header and trailer."""
    return lines(HEADER, to_json(ROOT), *fields, {"records": 1 + len(fields)})


def read(data: bytes, block: int = 1 << 20) -> list[Record]:
    return list(index.read(stream(data, block)))


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_index_round_trip_is_equal(block: int) -> None:
    assert read(written(RECORDS), block) == RECORDS


def test_index_writer_writes_the_documented_format() -> None:
    """Stored indexes must stay readable: a change here needs a new version of the format."""
    header, root, folder, renamed, file, link, hard, trailer = written(RECORDS).decode("utf-8").splitlines()
    assert header == '{"format":"igny8_backup index","version":2}'
    assert root == (
        '{"path":"","kind":"dir","mode":"2755","uid":0,"gid":33,"user":"root","group":"www-data","size":4096,'
        '"mtime_ns":1700000000123456789,"ctime_ns":1700000000987654321,"inode":2}'
    )
    assert '"path":"a"' in folder and folder.endswith(',"xattrs":{"user.x":"AP8="}}')
    assert '"path":"a/b%E9","kind":"file"' in file
    assert file.endswith('"sha256":"' + "0" * 64 + '","pack":"20261122T021500Z-7f3a9c-0001"}')
    assert renamed.endswith('-0001","member":"old \\"%E9\\"/b","xattrs":{"user.x":"eQ=="}}')
    assert link.endswith('"target":"../%FF\\n%25"}')
    assert '"path":"d\\nd","kind":"hardlink"' in hard and hard.endswith('"target":"a/b%E9"}')
    assert trailer == '{"records":6}'


NAMES = st.binary(min_size=1, max_size=6).filter(
    lambda name: not {0, 47} & set(name) and name not in (b".", b"..") and not name.startswith(b".b")
)


FIELDS = st.fixed_dictionaries(
    {
        "mode": st.integers(0, 0o7777),
        "uid": st.integers(0, 2**32 - 2),
        "user": st.text(st.characters(codec="utf-8"), max_size=5),
        "mtime_ns": st.integers(-(2**63), 2**63),
    }
)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(NAMES, FIELDS, max_size=8), st.integers(1, 1000))
def test_index_any_records_round_trip_is_equal(files: dict[bytes, dict[str, Any]], block: int) -> None:
    records = [ROOT] + [FILE._replace(path=name, **files[name]) for name in sorted(files, key=order)]
    assert read(written(records), block) == records


def test_read_index_of_version_1_is_readable() -> None:
    plain = [record for record in RECORDS if not record.member]
    data = written(plain).replace(b'"version":2', b'"version":1')
    assert read(data) == plain
    assert len([line for some in index.lines(io.BytesIO(data)) for line in some]) == len(plain)


def test_read_index_truncated_anywhere_raises() -> None:
    whole = written(RECORDS)
    for end in range(len(whole)):
        with pytest.raises(IntegrityError):
            read(whole[:end])


def test_read_index_missing_line_raises() -> None:
    whole = written(RECORDS).splitlines(keepends=True)
    for number in range(len(whole)):
        with pytest.raises(IntegrityError):
            read(b"".join(whole[:number] + whole[number + 1 :]))


def path(path: str, **others: Any) -> dict[str, Any]:
    return {**to_json(FILE), "path": path, **others}


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in to_json(FILE).items() if name != key} | {"path": "f"}


FOLDER_A = {**to_json(ROOT), "path": "a"}
SYMLINK_A = {**to_json(LINK), "path": "a"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"not JSON\n",
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        lines(HEADER, {"records": 0}),
        lines({**HEADER, "version": 3}, to_json(ROOT), {"records": 1}),
        lines(HEADER, path("f"), {"records": 1}),
        lines(HEADER, to_json(ROOT), {"records": 2}),
        lines(HEADER, to_json(ROOT), {"records": 1}, {"records": 1}),
        lines(HEADER, to_json(ROOT), {"records": 1, "more": 1}),
        sound(to_json(ROOT)),
        sound([]),  # type: ignore[arg-type]  # not an object, on purpose
        sound(path("/etc/passwd")),
        sound(path("../f")),
        sound(path("..")),
        sound(path(".")),
        sound(path("a/../f")),
        sound(path("")),
        sound(path("f/")),
        sound(path("f\0")),
        sound(path("%E9"), path("%E9")),
        sound(path("%e9")),
        sound(path("\ud800")),
        sound(path("g"), path("f")),
        sound(path("a/f")),
        sound(path("a"), path("a/f")),
        sound(SYMLINK_A, path("a/f")),
        sound(FOLDER_A, path("ab/f")),
        sound(path("f", kind="device")),
        sound(path("f", kind=["file"])),
        sound(path("f", more=1)),
        sound(path("f", target="x")),
        sound({**FOLDER_A, "sha256": "0" * 64}),
        sound(path("f", mode="755")),
        sound(path("f", mode="07777")),
        sound(path("f", mode=0o755)),
        sound(path("f", uid=-1)),
        sound(path("f", uid=2**32 - 1)),
        sound(path("f", uid=True)),
        sound(path("f", gid=0.0)),
        sound(path("f", size=-1)),
        sound(path("f", size=2**63)),
        sound(path("f", mtime_ns=10**40)),
        sound(path("f", inode="2")),
        sound(path("f", sha256="0" * 63)),
        sound(path("f", sha256="A" * 64)),
        sound(path("f", pack="../x")),
        sound(path("f", pack="")),
        sound(path("f", user=None)),
        sound(path("f", member="../x")),
        sound(path("f", member="/x")),
        sound(path("f", member="a//x")),
        sound(path("f", member="x/")),
        sound(path("f", member="%2E%2E/x")),
        sound(path("f", member="%61")),
        sound(path("f", member="a\0")),
        sound(path("f", member="\udcff")),
        sound(path("f", member="x/" * 500 + "x")),
        sound(path("f", member="")),
        sound(path("f", member=None)),
        sound({**FOLDER_A, "member": "f"}),
        sound({**SYMLINK_A, "target": ""}),
        sound({**SYMLINK_A, "target": "a\0b"}),
        sound({**SYMLINK_A, "target": "a" * 4096}),
        sound(path("f"), {**to_json(HARD), "path": "g", "target": "/etc/passwd"}),
        sound(path("f"), {**to_json(HARD), "path": "g", "target": "../f"}),
        sound({**to_json(HARD), "path": "g", "target": "g"}),
        sound({**to_json(HARD), "path": "g", "target": "h"}),
        sound(path("f", xattrs={"trusted.overlay.opaque": ""})),
        sound(path("f", xattrs={"user.x": "%%%"})),
        sound(path("f", xattrs={"user.x": 1})),
        sound(path("f", xattrs={"user.x%00": ""})),
        sound(path("f", xattrs=[])),
        sound(path("f", xattrs={"user.x": base64.b64encode(bytes(200_000)).decode()})),
        *(sound(without(key)) for key in to_json(FILE) if key != "path"),
    ],
)
def test_read_index_malformed_record_raises(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        read(data)


def test_read_index_endless_line_raises_early() -> None:
    def endless() -> Any:
        yield lines(HEADER)
        for _ in range(100):
            yield b" " * (LINE_LIMIT // 10)
        pytest.fail("it went on reading")

    with pytest.raises(IntegrityError, match="longer"):
        list(index.read(endless()))


def test_read_index_longest_line_is_within_the_limit() -> None:
    """Nobody can make an index that cannot be read: the line of a renamed file has two paths."""
    longest = b"/".join([b"\1" * 255] * DEPTH_LIMIT)
    names = ["user." + "\1" * 245 + f"{number:05}" for number in range(SIZE_LIMIT // 255)]
    xattrs = tuple((name, b"") for name in names)
    file = FILE._replace(path=longest, member=longest, xattrs=xattrs, racy=True)
    line = to_line(file)
    assert 2 << 20 < len(line) < LINE_LIMIT
    assert from_json(json.loads(line)) == file


def test_read_index_error_at_stream_end_is_raised() -> None:
    def broken() -> Any:
        yield written(RECORDS)
        raise IntegrityError("The digest is wrong.")

    with pytest.raises(IntegrityError, match="digest"):
        list(index.read(broken()))


@given(st.integers(0, 700))
@settings(max_examples=30, deadline=None)
def test_lines_any_batch_size_gives_the_same_lines(files: int) -> None:
    records = [ROOT, *(FILE._replace(path=b"page-%04d" % number) for number in range(files))]
    data = written(records)
    whole = data.splitlines(keepends=True)
    assert [line for some in index.lines(io.BytesIO(data)) for line in some] == whole[1:-1]
    doubled = [*whole[:-1], whole[-1], whole[-1]]
    for broken in (whole[:1], whole[:-1], [*whole[:-2], whole[-1]], doubled, [*whole[:-1], whole[-1][:-4]]):
        with pytest.raises(IntegrityError):
            list(index.lines(io.BytesIO(b"".join(broken))))
