"""Programs run before and after a backup, and tell how it ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from igny8_backup.errors import BackupError, ToolError, ToolMissingError
from igny8_backup.formats import keys
from igny8_backup.operations import hook_programs
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext, open_context
from igny8_backup.operations.hook_programs import run_hook
from igny8_backup.signals import phase_started
from tests.operations.conftest import Notes

pytestmark = pytest.mark.slow

BOTH = BackupRequest(trees=("sites", "uploads"))
SAYS = 'echo "$1 $IGNY8_BACKUP_PHASE $IGNY8_BACKUP_OUTCOME" >> "$0"; test -n "$IGNY8_BACKUP_IDS"'


class Hooked:
    """Backups with hooks that write to a log."""

    def __init__(self, settings: Any, folder: Path) -> None:
        self._settings, self._log = settings, folder / "a log, with blanks; and $signs"
        self.notes = Notes()

    def says(self, word: str) -> list[str]:
        return ["sh", "-c", SAYS, str(self._log), word]

    def run(self, request: BackupRequest = BOTH, **hooks: Any) -> Any:
        self._log.unlink(missing_ok=True)
        self._settings.IGNY8_BACKUP = {**self._settings.IGNY8_BACKUP, **hooks}
        with open_context(progress=self.notes) as context:
            return run_backup(context, request)

    @property
    def log(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.exists() else []


@pytest.fixture
def hooked(context: BackupContext, settings: Any, tmp_path: Path) -> Hooked:
    return Hooked(settings, tmp_path)


def test_hooks_run_around_a_backup_and_are_told_the_outcome(hooked: Hooked, trees: tuple[Path, Path]) -> None:
    phases: list[str] = []

    def receive(phase: str, **kwargs: Any) -> None:
        phases.append(phase)

    phase_started.connect(receive)
    try:
        done = hooked.run(
            BEFORE_BACKUP=[hooked.says("one")], AFTER_BACKUP=[hooked.says("a"), hooked.says("b")]
        )
    finally:
        phase_started.disconnect(receive)
    assert done.complete and phases == [
        "before_backup",
        "files sites",
        "files uploads",
        "manifest",
        "after_backup",
    ]
    assert hooked.log == ["one before_backup ", "a after_backup complete", "b after_backup complete"]
    trees[1].rename(trees[1].with_name("elsewhere"))
    assert not hooked.run().complete
    assert hooked.log[1:] == ["a after_backup incomplete", "b after_backup incomplete"]


def test_hook_before_a_backup_fails_stops_it_and_runs_those_after_it(
    hooked: Hooked, context: BackupContext
) -> None:
    before = [
        hooked.says("one"),
        ["sh", "-c", "echo last words; exit 7", "--password=secret"],
        hooked.says("two"),
    ]
    with pytest.raises(ToolError) as caught:
        hooked.run(BEFORE_BACKUP=before, AFTER_BACKUP=[["sh", "-c", "exit 3"], hooked.says("end")])
    text = str(caught.value)
    assert "The hook BEFORE_BACKUP[1] (sh) failed: sh failed with exit status 7" in text
    assert "Nothing was backed up." in text and "last words" in text and "secret" not in text
    assert hooked.log == ["one before_backup ", "end after_backup failed"]
    assert any("AFTER_BACKUP[0] (sh) failed" in note for note in hooked.notes.texts)
    (run,) = context.catalog.runs()
    assert run.outcome == "failed" and run.errors == {"run": "ToolError"}
    assert not list(context.store.list(keys.BACKUPS))


def test_hook_after_a_backup_fails_is_a_warning(hooked: Hooked) -> None:
    done = hooked.run(AFTER_BACKUP=[["sh", "-c", "exit 3"], hooked.says("end")])
    assert done.whole and not done.complete
    (line,) = done.problems(10)
    assert (
        line.startswith("WARNING: The hook AFTER_BACKUP[0] (sh) failed") and "The backup is stored." in line
    )
    assert hooked.log == ["end after_backup complete"]


def test_hook_whose_program_is_missing_is_found_before_any_hook_runs(hooked: Hooked) -> None:
    with pytest.raises(ToolMissingError, match=r"AFTER_BACKUP\[1\] does not exist or cannot be run: no-such"):
        hooked.run(BEFORE_BACKUP=[hooked.says("one")], AFTER_BACKUP=[hooked.says("end"), ["no-such-program"]])
    assert hooked.log == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, BackupError])
def test_hooks_after_a_backup_run_when_it_is_interrupted(
    hooked: Hooked, tmp_path: Path, error: type[BaseException]
) -> None:
    def stop(phase: str, **kwargs: Any) -> None:
        if phase != "manifest":
            return
        if error is KeyboardInterrupt:
            raise KeyboardInterrupt
        (tmp_path / "storage").rename(tmp_path / "elsewhere")
        (tmp_path / "storage").touch()

    phase_started.connect(stop)
    try:
        with pytest.raises(error):
            hooked.run(AFTER_BACKUP=[hooked.says("end")])
    finally:
        phase_started.disconnect(stop)
    assert hooked.log == ["end after_backup failed"]


def test_safety_backup_of_a_restore_runs_no_hooks(hooked: Hooked) -> None:
    request = BackupRequest(trees=("sites",), safety=True)
    assert hooked.run(request, BEFORE_BACKUP=[hooked.says("one")], AFTER_BACKUP=[hooked.says("end")]).complete
    assert hooked.log == []


def test_heartbeat_is_renewed_while_a_hook_runs(
    context: BackupContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a run whose hook takes minutes would be taken for a dead one."""
    monkeypatch.setattr(hook_programs, "BEAT_SECONDS", 0.01)
    beat = tmp_path / "beat"
    argv = ["sh", "-c", 'until [ -e "$0" ]; do sleep 0.01; done', str(beat)]
    run_hook(context, "before_backup", 0, argv, {}, unchanged="Nothing.", heartbeat=beat.touch)
    assert beat.exists()
