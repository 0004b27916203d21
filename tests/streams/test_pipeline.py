from __future__ import annotations

import dataclasses
import io
import json
import os
import random
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igny8_backup.errors import FilesError, IdentityError, IntegrityError, ToolError
from igny8_backup.streams import BLOCK, Blocks
from igny8_backup.streams.age import generate_identity, parse_identities
from igny8_backup.streams.block_reader import BlockReader
from igny8_backup.streams.observe import Digest, verified
from igny8_backup.streams.pipeline import Codec, decode, from_bytes, from_file, write_file
from igny8_backup.streams.process import feed_process, process_output
from tests.streams.conftest import Program, Source

SECRET, RECIPIENT = generate_identity()
IDENTITIES = parse_identities(SECRET)
SIZES = sorted({0, 1, *(n + d for n in (65536, 131072, BLOCK, 3 * BLOCK) for d in (-1, 0, 1))})
CODECS = [
    Codec(),
    Codec(recipients=(RECIPIENT,)),
    Codec(level=1, workers=0, recipients=(RECIPIENT, RECIPIENT)),
]


def all_of(stream: Iterable[bytes]) -> bytes:
    return b"".join(stream)


def made_of(kind: str, size: int) -> bytes:
    return random.Random(size).randbytes(size) if kind == "random" else (b"row;" * (size // 4 + 1))[:size]


# --- codecs


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("kind", ["random", "text"])
@pytest.mark.parametrize("size", SIZES)
def test_encode_then_decode_returns_the_content(size: int, kind: str, codec: Codec) -> None:
    content = made_of(kind, size)
    stored = all_of(codec.encode(from_bytes(content)))
    assert all_of(decode(from_bytes(stored), codec.names, IDENTITIES)) == content


def test_codec_has_names_and_suffix() -> None:
    assert (Codec().names, Codec().suffix) == (("zstd",), ".zst")
    encrypting = Codec(recipients=(RECIPIENT,))
    assert (encrypting.names, encrypting.suffix) == (("zstd", "age"), ".zst.age")
    assert list(json.loads(json.dumps(encrypting.names))) == ["zstd", "age"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(encrypting, "recipients", ())  # noqa: B010 - assigned at run time, past the type checker


def test_encode_output_opens_with_command_line_tools(installed: Program, tmp_path: Path) -> None:
    """The recipe of the docs: age -d | zstd -d."""
    content = made_of("text", 3 * BLOCK + 5) + made_of("random", BLOCK)
    (tmp_path / "object").write_bytes(all_of(Codec(recipients=(RECIPIENT,)).encode(from_bytes(content))))
    (tmp_path / "key").write_text(SECRET)
    recipe = f"{installed('age')} -d -i key object | {installed('zstd')} -d"
    assert subprocess.run(["sh", "-c", recipe], cwd=tmp_path, stdout=-1, check=True).stdout == content


def test_decode_opens_output_of_command_line_tools(installed: Program) -> None:
    content = made_of("text", 3 * BLOCK + 5)
    recipe = f"{installed('zstd')} | {installed('age')} -r {RECIPIENT}"
    stored = subprocess.run(["sh", "-c", recipe], input=content, stdout=-1, check=True).stdout
    assert all_of(decode(from_bytes(stored), ["zstd", "age"], IDENTITIES)) == content


def test_decode_unknown_codec_raises_and_closes_source(source: type[Source]) -> None:
    blocks = source(b"x", b"y")
    stream = blocks.stream()
    next(stream)
    with pytest.raises(IntegrityError, match="'lz4'"):
        decode(stream, ("zstd", "lz4"))
    assert blocks.closed


def test_decode_encrypted_without_identity_raises_and_closes_source(source: type[Source]) -> None:
    blocks = source(b"x", b"y")
    stream = blocks.stream()
    next(stream)
    with pytest.raises(IdentityError, match="--identity FILE"):
        decode(stream, ("zstd", "age"), [])
    assert blocks.closed


def test_decode_repeated_codec_raises_and_closes_source(source: type[Source]) -> None:
    blocks = source(b"x", b"y")
    stream = blocks.stream()
    next(stream)
    with pytest.raises(IntegrityError, match="twice"):
        decode(stream, ("zstd",) * 3000)
    assert blocks.closed


def test_decode_without_codecs_changes_nothing() -> None:
    assert all_of(decode(from_bytes(b"plain"), ())) == b"plain"


def test_decode_damaged_encryption_is_reported_as_such() -> None:
    stored = all_of(CODECS[1].encode(from_bytes(made_of("random", 2 * BLOCK))))
    for data in (stored[:-1], stored + b"x", stored[:BLOCK]):
        with pytest.raises(IntegrityError, match="encrypted data"):
            all_of(decode(from_bytes(data), ("zstd", "age"), IDENTITIES))


# --- from end to end


def test_process_to_process_content_is_unchanged(program: Program, tmp_path: Path) -> None:
    content = made_of("random", 5 * BLOCK + 1)
    (tmp_path / "dump").write_bytes(content)
    digest = Digest()
    codec = Codec(recipients=(RECIPIENT,))
    with open(tmp_path / "object", "wb") as file:
        encoded = codec.encode(process_output(["cat", str(tmp_path / "dump")]))
        write_file(digest.watch(encoded), file.fileno(), name="the object")
    assert digest.size == (tmp_path / "object").stat().st_size
    stored = verified(from_file(tmp_path / "object"), sha256=digest.sha256, size=digest.size, name="object")
    feed_process([program(f"cat >{tmp_path}/restored")], decode(stored, codec.names, IDENTITIES))
    assert (tmp_path / "restored").read_bytes() == content


def test_encode_of_failing_dump_raises(program: Program) -> None:
    """After 1 MB and exit status 1 the stream must not end, however well it would decode."""
    dump = process_output([program("head -c 1000000 /dev/urandom; echo out of memory >&2; exit 1")])
    with pytest.raises(ToolError, match="out of memory"):
        all_of(Codec(recipients=(RECIPIENT,)).encode(dump))


@pytest.mark.parametrize("taken", [1, 3])
def test_close_in_the_middle_of_a_long_chain_leaves_nothing(program: Program, taken: int) -> None:
    """The fixture ``nothing_left_behind`` checks threads, children and descriptors."""
    dump = process_output([program("cat /dev/urandom")])
    stream = Digest().watch(Codec(recipients=(RECIPIENT,)).encode(dump))
    for _ in range(taken):
        next(stream)
    stream.close()


def test_feed_process_failing_during_decode_leaves_nothing(program: Program) -> None:
    stored = all_of(CODECS[1].encode(from_bytes(made_of("random", 6 * BLOCK))))
    with pytest.raises(ToolError, match="exit status 1: no space"):
        feed_process(
            [program("head -c 2000000 >/dev/null; echo no space >&2; exit 1")],
            decode(from_bytes(stored), ("zstd", "age"), IDENTITIES),
        )


# --- the reader


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=10), st.lists(st.integers(0, 50), max_size=20))
def test_reader_returns_exactly_the_requested_size(blocks: list[bytes], sizes: list[int]) -> None:
    content = b"".join(blocks)
    reader = BlockReader(block for block in blocks)
    position = 0
    for size in sizes:
        assert reader.read(size) == content[position : position + size]
        position = min(position + size, len(content))
        assert reader.tell() == position
    assert reader.read() == content[position:]
    assert reader.read(1) == reader.read() == b""
    reader.close()


def test_reader_returns_complete_blocks_uncopied() -> None:
    block = bytes(BLOCK)
    with BlockReader(iter_of(block, block)) as reader:
        assert reader.read(BLOCK) is block


def iter_of(*blocks: bytes) -> Blocks:
    yield from blocks


def test_reader_empty_block_is_not_the_end() -> None:
    with BlockReader(iter_of(b"", b"a", b"", b"b", b"")) as reader:
        assert [reader.read(1), reader.read(1), reader.read(1)] == [b"a", b"b", b""]


def test_reader_seeks_to_the_start_at_the_start_only() -> None:
    with BlockReader(from_bytes(b"content")) as reader:
        assert reader.readable()
        assert not reader.seekable()
        assert not reader.writable()
        assert reader.seek(0) == 0
        for there in ((1,), (0, os.SEEK_END), (0, os.SEEK_CUR)):
            with pytest.raises(io.UnsupportedOperation):
                reader.seek(*there)
        assert reader.read(2) == b"co"
        with pytest.raises(io.UnsupportedOperation):
            reader.seek(0)
        assert reader.read() == b"ntent"


def test_reader_after_failure_raises_again(source: type[Source]) -> None:
    """Code that catches the error and reads again must not get ``b''``."""
    broken = ConnectionResetError("gone")
    with BlockReader(source(b"some", error=broken).stream()) as reader:
        assert reader.read(4) == b"some"
        for _ in range(3):
            with pytest.raises(ConnectionResetError):
                reader.read(4)


def test_reader_with_failure_inside_a_read_raises(source: type[Source]) -> None:
    with (
        BlockReader(source(b"some", error=ConnectionResetError()).stream()) as reader,
        pytest.raises(ConnectionResetError),
    ):
        reader.read(10)


def test_reader_close_closes_its_source(source: type[Source]) -> None:
    blocks = source(b"a", b"b")
    with BlockReader(blocks.stream()) as reader:
        assert reader.read(1) == b"a"
        assert not reader.closed
    assert blocks.closed
    assert reader.closed
    reader.close()
    for read in (reader.read, reader.read1):
        with pytest.raises(ValueError, match="closed"):
            read()


def test_reader_works_as_file_for_other_code() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo("name")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"abc"))
    with BlockReader(from_bytes(buffer.getvalue())) as reader, tarfile.open(fileobj=reader, mode="r|") as tar:
        assert [entry.name for entry in tar] == ["name"]
    text = cast(io.BufferedReader, BlockReader(from_bytes("erste\nzweite größer\n".encode())))
    with io.TextIOWrapper(text, "utf-8") as lines:
        assert list(lines) == ["erste\n", "zweite größer\n"]


# --- files and memory


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 5])
def test_from_file_and_from_bytes_yield_full_blocks(tmp_path: Path, size: int) -> None:
    content = made_of("random", size)
    (tmp_path / "file").write_bytes(content)
    for stream in (from_bytes(content), from_file(tmp_path / "file"), from_file(str(tmp_path / "file"))):
        blocks = list(stream)
        assert b"".join(blocks) == content
        assert all(0 < len(block) <= BLOCK for block in blocks)


def test_descriptors_stay_open_for_the_caller(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    with open(tmp_path / "file", "rb") as file:
        assert all_of(from_file(file.fileno())) == b"content"
        assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 7
    with open(tmp_path / "other", "wb") as file:
        write_file(from_bytes(b"content"), file.fileno(), name="the content")
        os.fstat(file.fileno())
    assert (tmp_path / "other").read_bytes() == b"content"


def test_write_file_with_failing_stream_raises_its_exception(tmp_path: Path, source: type[Source]) -> None:
    broken = ConnectionResetError("gone")
    with open(tmp_path / "file", "wb") as file, pytest.raises(ConnectionResetError) as caught:
        write_file(source(b"half", error=broken).stream(), file.fileno(), name="the content")
    assert caught.value is broken


def test_write_file_on_full_disk_raises_files_error(source: type[Source]) -> None:
    blocks = source(b"content")
    with (
        open("/dev/full", "wb", buffering=0) as full,
        pytest.raises(FilesError, match="Could not write the content: No space left on device"),
    ):
        write_file(blocks.stream(), full.fileno(), name="the content")
    assert blocks.closed


def test_from_file_unreadable_raises_files_error(tmp_path: Path) -> None:
    with pytest.raises(FilesError, match=f"Could not read {tmp_path}/none: No such file"):
        next(from_file(tmp_path / "none"))
    with pytest.raises(FilesError, match="Is a directory"):
        next(from_file(tmp_path))


def test_from_file_closed_early_closes_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(3 * BLOCK))
    stream = from_file(tmp_path / "file")
    next(stream)
    stream.close()
