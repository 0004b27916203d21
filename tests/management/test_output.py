"""Output of commands whose reader goes away, and text from elsewhere in it."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from django.core.management.base import OutputWrapper

from igny8_backup.common.humanize import indented, one_line
from igny8_backup.management.output import Output, Unstyled, labelled
from igny8_backup.management.progress import TextProgress
from tests.management.commands import Command, run_many
from tests.management.conftest import BackedUp
from tests.services.project import MANAGE, PYTHON

FORGED = "FORGED-LINE"


def run_into_closed_pipe(
    backed_up: BackedUp, *argv: str, both: bool = False, storage: Path | None = None
) -> tuple[int, str]:
    """Run a command whose standard output, or both streams, nobody reads; return its status and stderr."""
    reader, writer = os.pipe()
    os.close(reader)
    project = backed_up.project
    environment = dict(project.environment)
    if storage:
        state = str(storage.with_name("state"))
        environment |= {"IGNY8_BACKUP_FOLDER": str(storage), "IGNY8_BACKUP_STATE_DIR": state}
    try:
        done = subprocess.run(
            [*PYTHON, MANAGE, *argv],
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=writer if both else subprocess.PIPE,
            text=True,
            cwd=project.folder,
            env=environment,
        )
    finally:
        os.close(writer)
    return done.returncode, done.stderr or ""


@pytest.mark.parametrize(
    "argv",
    [["list_backups"], ["list_backups", "--json"], ["show_backup", "ID"], ["show_backup", "ID", "--json"]],
)
def test_output_reader_gone_ends_without_traceback(backed_up: BackedUp, argv: Sequence[str]) -> None:
    status, err = run_into_closed_pipe(backed_up, *(backed_up.id if word == "ID" else word for word in argv))
    assert (status, err) == (0, "")


def test_output_reader_gone_does_not_stop_a_backup(backed_up: BackedUp, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    status, _ = run_into_closed_pipe(backed_up, "backup_sites", "uploads", both=True, storage=storage)
    assert status == 0 and len(list(storage.glob("igny8/backups/*/manifest.json"))) == 1


def test_output_reader_gone_keeps_the_status_of_a_failure(backed_up: BackedUp) -> None:
    assert run_into_closed_pipe(backed_up, "show_backup", "none", both=True)[0] == 2


@pytest.mark.parametrize(
    ("redirection", "status", "reason"),
    [(">/dev/full", 3, "could not be written: No space left on device. The work"), (">&-", 0, "")],
    ids=["full", "closed"],
)
def test_output_that_cannot_be_written_ends_without_traceback(
    backed_up: BackedUp, redirection: str, status: int, reason: str
) -> None:
    project = backed_up.project
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", *PYTHON, MANAGE, "list_backups"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=project.folder,
        env=project.environment,
    )
    assert done.returncode == status
    assert reason in done.stderr and "Traceback" not in done.stderr


def test_output_escapes_what_the_encoding_of_the_stream_lacks() -> None:
    written = io.BytesIO()
    with io.TextIOWrapper(written, encoding="latin-1") as stream:
        Output.around(OutputWrapper(stream)).write("né \N{RIGHTWARDS ARROW}")
        assert written.getvalue() == b"n\xe9 \\u2192\n"


def test_traceback_option_keeps_the_exit_status(backed_up: BackedUp) -> None:
    done = backed_up.project.run("show_backup", "20260101T000000Z-000000", "--traceback")
    assert done.returncode == 2 and done.stderr.startswith("Traceback") and "UsageError" in done.stderr


def test_text_from_storage_cannot_forge_a_line(backed_up: BackedUp, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    shutil.copytree(backed_up.project.storage, storage)
    path = storage / f"igny8/backups/{backed_up.id}/manifest.json"
    manifest = json.loads(path.read_text())
    words = f"x\n{FORGED}"
    # Without trees, because a manifest whose packs are not those of its host is unreadable.
    forged = {"trees": [], "label": words, "host": words, "environment": words}
    path.write_text(json.dumps({**manifest, **forged}))
    for done in run_many(
        backed_up.project,
        Command(["list_backups"], storage=storage),
        Command(["show_backup", backed_up.id], storage=storage),
    ):
        assert FORGED in "".join(done.ended(0).stdout.split())
        assert not any(line.startswith(FORGED) for line in done.output.splitlines())


def test_file_name_cannot_forge_a_line(backed_up: BackedUp, tmp_path: Path) -> None:
    project = backed_up.project
    name = project.uploads / f"x\n{FORGED}"
    socket = project.uploads / f"y\n{FORGED}"
    modified = project.uploads.stat().st_mtime_ns
    name.write_text("a file")
    os.mkfifo(socket)
    try:
        made, *rest = run_many(
            project,
            Command(["backup_sites", "uploads"], storage=tmp_path / "storage"),
            Command(["list_backups", "--json"], storage=tmp_path / "storage"),
        )
        backup_id = rest[0].json[0]["id"]
        (shown,) = run_many(
            project, Command(["show_backup", backup_id, "--files"], storage=tmp_path / "storage")
        )
    finally:
        name.unlink()
        socket.unlink()
        os.utime(project.uploads, ns=(modified, modified))
    for done in (made, shown):
        assert FORGED in done.ended(0).output
        assert not any(line.startswith(FORGED) for line in done.output.splitlines())


def test_one_line_and_indented_escape_newlines() -> None:
    assert one_line("a\nb\x1b") == "a\\x0ab\\x1b"
    assert indented("a\nb\x1b") == "a\n    b\\x1b"


def test_progress_beyond_the_estimate_raises_the_total() -> None:
    stream = io.StringIO()
    with TextProgress(stream, every=-1) as shown:
        shown.begin("files uploads", 3_300_000, 2)
        shown.advance(1_100_000, 1)
        shown.advance(2_500_000, 2)
    first, last = stream.getvalue().split(" MB/s")[:2]
    assert "1 of about 3 MB, 1 of about 2 files" in first
    assert "4 MB, 3 files" in last


def test_progress_is_not_shown_in_the_colour_of_errors() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    stderr = OutputWrapper(terminal, ending="\n")
    stderr.style_func = lambda text: f"RED {text}"
    TextProgress(Unstyled(stderr)).note("Migrating")
    stderr.write("Failed")
    assert terminal.getvalue() == "Migrating\nRED Failed\n"


def test_progress_of_one_file_is_in_the_singular() -> None:
    stream = io.StringIO()
    with TextProgress(stream, every=-1) as shown:
        shown.begin("files uploads", 1_000_000, 1)
        shown.advance(1_000_000, 1)
    assert "1 MB, 1 file, " in stream.getvalue()


def test_progress_of_work_without_a_size_shows_the_count() -> None:
    stream = io.StringIO()
    with TextProgress(stream, every=-1) as shown:
        shown.begin("identity", None, 3_000, "headers")
        shown.advance(0, 2_000)
        shown.advance(0, 1_500)
    assert stream.getvalue() == "identity: 2,000 of about 3,000 headersidentity: 3,500 headers"


def test_progress_bar_beyond_the_estimate_raises_the_total() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    with TextProgress(Terminal()) as shown:
        shown.begin("files uploads", 3_300_000)
        shown.advance(3_600_000)
        assert shown._live is not None
        (task,) = shown._live.tasks
        assert (task.completed, task.total) == (3_600_000, 3_600_000)


def test_monitor_backups_metrics_unwritable_still_prints(backed_up: BackedUp) -> None:
    for extra in ([], ["--json"]):
        (done,) = run_many(
            backed_up.project, ["monitor_backups", "--prometheus", "/nonexistent/x.prom", *extra]
        )
        assert done.returncode in (1, 7), done.output  # 7: the only backup was never verified
        assert "The metrics cannot be written to /nonexistent/x.prom" in done.stderr
        assert "conditions" in done.json if extra else "OK      age" in done.stdout


def test_notes_of_a_plan_have_one_label() -> None:
    assert labelled("The host is another one.") == "NOTE: The host is another one."
    assert labelled("WARNING: the copy is damaged.") == "WARNING: the copy is damaged."
