from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from igny8_backup.errors import ToolError, ToolMissingError
from igny8_backup.streams import BLOCK, Blocks, child, stderr_tail
from igny8_backup.streams.pipeline import from_bytes
from igny8_backup.streams.process import (
    OUTPUT_LIMIT,
    feed_process,
    filtered,
    process_output,
    run_process,
    wait_for_process,
)
from tests.streams.conftest import Program, Source

SECRET = "hunter2-in-the-environment"


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def wait_until_gone(pid: int) -> None:
    while is_running(pid):
        time.sleep(0.01)


# --- process_output


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
def test_process_output_yields_full_blocks(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "content").write_bytes(content)
    blocks = list(process_output(["cat", str(tmp_path / "content")]))
    assert b"".join(blocks) == content
    assert [len(block) for block in blocks[:-1]] == [BLOCK] * (len(blocks) - 1)
    assert all(blocks)


def test_process_output_collects_short_writes(program: Program) -> None:
    fake = program("i=0; while [ $i -lt 500 ]; do echo $i; i=$((i+1)); done")
    (block,) = process_output([fake])
    assert block.split() == [str(i).encode() for i in range(500)]


def test_process_output_starts_at_the_first_block(program: Program, tmp_path: Path) -> None:
    fake = program(f"touch {tmp_path}/started; echo x")
    stream = process_output([fake])
    assert not (tmp_path / "started").exists()
    assert next(stream) == b"x\n"
    assert (tmp_path / "started").exists()
    stream.close()


def test_process_output_late_failure_raises(program: Program) -> None:
    stream = process_output([program("head -c 1048576 /dev/zero; echo 'disk on fire' >&2; exit 7")])
    assert next(stream) == bytes(BLOCK)
    with pytest.raises(ToolError) as caught:
        next(stream)
    assert caught.value.what == "pg_fake failed with exit status 7: disk on fire"
    assert caught.value.exit_status_of_tool == 7
    assert caught.value.stderr_tail == "disk on fire"
    assert caught.value.exit_status == 1


def test_process_output_failure_without_stderr_says_so(program: Program) -> None:
    with pytest.raises(ToolError, match="pg_fake failed with exit status 1 and printed no error message"):
        list(process_output([program("exit 1")]))


def test_process_output_killed_program_names_the_signal(program: Program) -> None:
    with pytest.raises(ToolError, match="pg_fake was killed by SIGKILL") as caught:
        list(process_output([program("echo data; kill -KILL $$")]))
    assert caught.value.exit_status_of_tool == -signal.SIGKILL


def test_process_output_unnamed_signal_has_its_number(program: Program) -> None:
    with pytest.raises(ToolError, match="was killed by signal 40"):
        list(process_output([program("kill -40 $$")]))


def test_process_output_long_stderr_keeps_both_ends(program: Program) -> None:
    fake = program(
        "echo the cause >&2; head -c 4000000 /dev/zero | tr '\\0' e >&2; head -c 3000000 /dev/zero;"
        "head -c 4000000 /dev/zero | tr '\\0' f >&2; echo; echo last words >&2; exit 2"
    )
    with pytest.raises(ToolError) as caught:
        sum(len(block) for block in process_output([fake]))
    assert caught.value.stderr_tail.startswith("the cause\neee")
    assert "eee\n...\nfff" in caught.value.stderr_tail
    assert caught.value.stderr_tail.endswith("fff" + "last words")
    assert len(caught.value.what) < stderr_tail.HEAD + stderr_tail.TAIL + 100


def test_process_output_long_stderr_is_no_failure(program: Program) -> None:
    fake = program("head -c 2000000 /dev/zero >&2; head -c 2000000 /dev/zero")
    assert sum(len(block) for block in process_output([fake])) == 2_000_000


def test_process_output_binary_stderr_is_decoded_with_replacements(program: Program) -> None:
    with pytest.raises(ToolError, match="caf\ufffd closed"):
        list(process_output([program("printf 'caf\\351 closed' >&2; exit 1")]))


def test_process_output_closed_early_waits_for_exit_status(program: Program, tmp_path: Path) -> None:
    """The end of stdout proves nothing: the exit status comes later."""
    os.mkfifo(tmp_path / "gate")
    stream = process_output([program(f"echo data; exec >&-; read x <{tmp_path}/gate; exit 4")])
    opener = subprocess.Popen(["sh", "-c", f"sleep 0.2; echo >{tmp_path}/gate"])
    with pytest.raises(ToolError, match="exit status 4"):
        list(stream)
    assert opener.wait() == 0


def test_process_output_ignores_stderr_held_by_grandchild(program: Program, tmp_path: Path) -> None:
    fake = program(f"sleep 1000 >/dev/null & echo $! >{tmp_path}/pid; echo done")
    assert list(process_output([fake])) == [b"done\n"]
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


# --- closing early


def test_close_early_stops_program_and_its_children(program: Program) -> None:
    stream = process_output([program("sleep 1000 & echo $$ $!; head -c 2000000 /dev/zero; wait")])
    parent, grandchild = map(int, next(stream).split(b"\n")[0].split())
    assert is_running(parent)
    assert is_running(grandchild)
    stream.close()
    assert not Path(f"/proc/{parent}").exists()
    wait_until_gone(grandchild)


def test_close_of_program_ignoring_sigterm_kills_it(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "GRACE", 0.2)
    fake = program("trap '' TERM; echo $$; head -c 2000000 /dev/zero; while :; do sleep 1000; done")
    stream = process_output([fake])
    pid = int(next(stream).split(b"\n")[0])
    stream.close()
    assert not Path(f"/proc/{pid}").exists()


def test_close_reads_final_stderr_of_program(program: Program, tmp_path: Path) -> None:
    """Its last output must not block on a full pipe until the program is killed."""
    fake = program(
        f"trap 'head -c 500000 /dev/zero >&2; touch {tmp_path}/finished; exit' TERM;"
        "head -c 1100000 /dev/zero; while :; do sleep 0.01; done"
    )
    stream = process_output([fake])
    next(stream)
    stream.close()
    assert (tmp_path / "finished").exists()


def test_close_before_start_starts_nothing(program: Program, tmp_path: Path) -> None:
    process_output([program(f"touch {tmp_path}/started")]).close()
    assert not (tmp_path / "started").exists()


def test_process_output_garbage_collected_stops_program(program: Program) -> None:
    stream = process_output([program("echo $$; head -c 2000000 /dev/zero; sleep 1000")])
    pid = int(next(stream).split(b"\n")[0])
    del stream
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_process_output_interrupted_stops_program(program: Program, number: int) -> None:
    """Provided that the signal raises an exception in Python, as it does in commands."""
    reader, writer = os.pipe()
    fake = program(f"head -c 1048576 /dev/zero; echo $$ >/dev/fd/{writer}; exec sleep 1000")
    script = (
        "import signal, sys\n"
        "from igny8_backup.streams.process import process_output\n"
        "signal.signal(signal.SIGTERM, signal.default_int_handler)\n"
        "list(process_output([sys.argv[1]], pass_fds=[int(sys.argv[2])]))\n"
    )
    ours = subprocess.Popen(
        [sys.executable, "-c", script, fake, str(writer)],
        pass_fds=[writer],
        stderr=subprocess.DEVNULL,
        cwd=Path(child.__file__).parents[2],
    )
    os.close(writer)
    with ours, open(reader) as pipe:
        pid = int(pipe.readline())
        assert os.getsid(pid) == pid
        ours.send_signal(number)
        assert ours.wait() != 0
        assert not is_running(pid)


# --- programs that cannot start


def test_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ToolMissingError, match=r"^pg_nothing is not installed \(not found on PATH\)\. Install"
    ):
        next(process_output(["pg_nothing"]))
    with pytest.raises(ToolMissingError, match="pg_nothing is not installed in"):
        next(process_output([str(tmp_path / "pg_nothing")]))


def test_program_without_permission_is_not_called_missing(tmp_path: Path) -> None:
    (tmp_path / "pg_fake").write_text("#!/bin/sh\n")
    with pytest.raises(ToolError, match="pg_fake could not be started: Permission denied") as caught:
        run_process([str(tmp_path / "pg_fake")])
    assert not isinstance(caught.value, ToolMissingError)


# --- environment, descriptors, session


def test_environment_is_replaced_and_never_printed(program: Program) -> None:
    env = {"PATH": os.environ["PATH"], "PGPASSWORD": SECRET}
    assert run_process([program('echo "$PGPASSWORD"')], env=env).decode().strip() == SECRET
    failing = program("head -c 30000000 /dev/zero; exit 1")
    attempts: list[Callable[[], object]] = [
        lambda: list(process_output([failing], env=env)),
        lambda: run_process([failing], env=env),
        lambda: feed_process([failing], from_bytes(bytes(4 * BLOCK)), env=env),
        lambda: run_process(["pg_nothing"], env=env),
        lambda: run_process(["/etc/passwd"], env=env),
    ]
    for attempt in attempts:
        with pytest.raises(ToolError) as caught:
            attempt()
        printed = (
            "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(vars(caught.value))
        )
        assert SECRET not in printed


def test_descriptors_are_passed_and_stdin_is_empty_by_default(program: Program, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"from a descriptor")
    with open(tmp_path / "secret", "rb") as file:
        fake = program(f"cat /dev/fd/{file.fileno()}; cat")
        assert list(process_output([fake], pass_fds=[file.fileno()])) == [b"from a descriptor"]


def test_program_runs_in_its_own_session() -> None:
    script = "import os; print(os.getpid(), os.getpgrp(), os.getsid(0))"
    ids = run_process([sys.executable, "-c", script]).split()
    assert len(set(ids)) == 1


# --- feed_process


@pytest.mark.parametrize("size", [0, 1, 65537, BLOCK, 3 * BLOCK + 7])
def test_feed_process_writes_every_byte(program: Program, tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    feed_process([program(f"cat >{tmp_path}/got")], from_bytes(content))
    assert (tmp_path / "got").read_bytes() == content


def test_feed_process_with_failing_source_stops_program_first(
    program: Program, tmp_path: Path, source: type[Source]
) -> None:
    """A client that reads an incomplete dump to an apparent end would commit it."""
    broken = ConnectionResetError("storage went away")
    blocks = source(b"half", error=broken)
    fake = program(f"echo $$ >{tmp_path}/pid; cat >/dev/null; touch {tmp_path}/committed")
    with pytest.raises(ConnectionResetError) as caught:
        feed_process([fake], blocks.stream())
    assert caught.value is broken
    assert blocks.closed
    assert not (tmp_path / "committed").exists()


def test_feed_process_with_failing_source_and_slow_program_never_closes_stdin(
    program: Program, tmp_path: Path, source: type[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "GRACE", 0.3)
    fake = program(f"trap '' TERM; touch {tmp_path}/ready; cat >/dev/null; touch {tmp_path}/committed")

    def half() -> Blocks:
        yield b"half"
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        feed_process([fake], half())
    assert not (tmp_path / "committed").exists()


def test_feed_process_reports_stderr_of_program_that_died_meanwhile(program: Program, tmp_path: Path) -> None:
    fake = program(f"echo $$ >{tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; echo bye >&2; exit 1")

    def slow() -> Blocks:
        yield b"x"
        while not (tmp_path / "pid").exists():
            time.sleep(0.01)
        wait_until_gone(int((tmp_path / "pid").read_text()))

    with pytest.raises(ToolError, match="exit status 1: bye"):
        feed_process([fake], slow())


def test_feed_process_program_that_stops_reading_and_fails_raises(
    program: Program, source: type[Source]
) -> None:
    blocks = source(*[bytes(BLOCK)] * 5)
    with pytest.raises(ToolError, match="pg_fake failed with exit status 3: no space left") as caught:
        feed_process([program("head -c 10 >/dev/null; echo no space left >&2; exit 3")], blocks.stream())
    assert caught.value.exit_status_of_tool == 3
    assert blocks.closed


def test_feed_process_program_that_stops_reading_and_succeeds_raises(program: Program) -> None:
    with pytest.raises(
        ToolError, match="ended before it had read all of its input. Its message: enough"
    ) as caught:
        feed_process([program("head -c 10 >/dev/null; echo enough")], from_bytes(bytes(5 * BLOCK)))
    assert caught.value.exit_status_of_tool == 0


def test_feed_process_program_that_fails_after_its_input_raises(program: Program) -> None:
    with pytest.raises(ToolError, match="exit status 1: constraint violated"):
        feed_process([program("cat >/dev/null; echo constraint violated >&2; exit 1")], from_bytes(b"x"))


def test_feed_process_program_with_much_output_does_not_block(program: Program) -> None:
    feed_process([program("tee /dev/stderr")], from_bytes(bytes(5 * BLOCK)))


def test_feed_process_that_cannot_start_closes_the_source(source: type[Source]) -> None:
    blocks = source(b"x")
    stream = blocks.stream()
    next(stream)
    with pytest.raises(ToolMissingError):
        feed_process(["pg_nothing"], stream)
    assert blocks.closed


# --- run_process


def test_run_process_returns_the_output(program: Program) -> None:
    assert run_process([program("echo out; echo noise >&2")]) == b"out\n"


def test_run_process_reads_and_writes_at_the_same_time() -> None:
    content = os.urandom(4 * BLOCK)
    assert run_process(["cat"], input=content) == content
    assert run_process(["cat"], input=b"") == b""
    assert run_process(["cat"]) == b""


def test_run_process_unread_input_is_no_failure(program: Program) -> None:
    assert run_process([program("head -c 3")], input=b"abc" + bytes(3 * BLOCK)) == b"abc"


def test_run_process_writes_input_after_end_of_output(program: Program, tmp_path: Path) -> None:
    fake = program(f"echo out; exec >&-; cat >{tmp_path}/got")
    assert run_process([fake], input=bytes(3 * BLOCK)) == b"out\n"
    assert (tmp_path / "got").stat().st_size == 3 * BLOCK


def test_run_process_with_too_much_output_raises_and_stops_program() -> None:
    with pytest.raises(ToolError, match=f"yes wrote more than {OUTPUT_LIMIT} bytes"):
        run_process(["yes"])
    assert run_process(["head", "-c", f"{OUTPUT_LIMIT}", "/dev/zero"]) == bytes(OUTPUT_LIMIT)


def test_run_process_failure_raises(program: Program) -> None:
    with pytest.raises(ToolError, match="exit status 9: why"):
        run_process([program("echo out; echo why >&2; exit 9")])


def test_tool_error_survives_pickling() -> None:
    error = ToolError("pg_dump failed.", stderr_tail="tail", exit_status_of_tool=3)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.stderr_tail, copy.exit_status_of_tool) == ("pg_dump failed.", "tail", 3)
    assert ToolError("one text").stderr_tail == ""


# --- filtered


@pytest.mark.parametrize("size", [0, 1, BLOCK, 5 * BLOCK + 7])
def test_filtered_returns_the_content(size: int) -> None:
    content = os.urandom(size)
    assert b"".join(filtered(from_bytes(content), ["cat"])) == content


def test_filtered_slow_and_verbose_programs_do_not_deadlock(program: Program) -> None:
    content = bytes(3 * BLOCK)
    assert b"".join(filtered(from_bytes(content), ["wc", "-c"])).split() == [str(3 * BLOCK).encode()]
    many = program("head -c 5000000 /dev/zero; cat > /dev/null")
    assert b"".join(filtered(from_bytes(content), [many])) == bytes(5_000_000)
    closed = program("exec >&-; cat > /dev/null")
    assert list(filtered(from_bytes(content), [closed])) == []


def test_filtered_failing_program_raises(program: Program) -> None:
    with pytest.raises(ToolError, match="exit status 9: broken"):
        list(filtered(from_bytes(b"x"), [program("cat; echo broken >&2; exit 9")]))
    with pytest.raises(ToolError, match="ended before it had read all of its input"):
        list(filtered(from_bytes(bytes(9 * BLOCK)), ["head", "-c", "10"]))


def test_filtered_failing_source_stops_program(tmp_path: Path, program: Program) -> None:
    def broken() -> Blocks:
        yield b"x" * 100
        raise OSError("the source broke")

    pid = tmp_path / "pid"
    with pytest.raises(OSError, match="the source broke"):
        list(filtered(broken(), [program(f"echo $$ > {pid}; exec cat")]))
    # The program may have been stopped before the shell wrote anything.
    written = pid.read_text() if pid.exists() else ""
    assert not written or not is_running(int(written))


def test_feed_process_without_reads_all_reads_source_to_the_end() -> None:
    read = []

    def source(error: BaseException | None = None) -> Blocks:
        for number in range(5):
            read.append(number)
            yield bytes(BLOCK)
        if error:
            raise error

    feed_process(["head", "-c", "10"], source(), reads_all=False)
    assert read == [0, 1, 2, 3, 4]
    with pytest.raises(OSError, match="not what was written"):
        feed_process(["head", "-c", "10"], source(OSError("not what was written")), reads_all=False)


# --- wait_for_process


def test_wait_for_process_ends_with_the_program(program: Program, tmp_path: Path) -> None:
    wait_for_process([program(f"cat; touch {tmp_path}/done")], lambda: None)
    assert (tmp_path / "done").exists()
    with pytest.raises(ToolError, match="on stdout\non stderr"):
        wait_for_process([program("echo on stdout; echo on stderr >&2; exit 3")], lambda: None)


def test_wait_for_process_stops_the_program_if_the_check_raises(program: Program, tmp_path: Path) -> None:
    def check() -> None:
        if (tmp_path / "pid").exists():
            raise InterruptedError("enough")

    with pytest.raises(InterruptedError, match="enough"):
        wait_for_process(
            [program(f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; sleep 600")], check
        )
    assert not is_running(int((tmp_path / "pid").read_text()))
