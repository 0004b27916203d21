"""What bad input gets: one clear line, the right exit status, nothing changed, nothing left unseen.

Cases that are no more than a command go to :func:`fail`, all of a test at once. Where harm is done while a
command runs, a test does it inside :func:`nothing_changes` and hands what ended to :func:`assert_one_line`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.docs.pages import assert_shown
from tests.management import state
from tests.management.commands import Command, Done, run_many
from tests.services.project import Project

START = "CommandError: "


@dataclass(frozen=True)
class Case:
    """A command, the exit status it must end with, and words of its line: what happened, what is untouched,
    the way out. ``settings`` changes keys of ``IGNY8_BACKUP``, ``storage`` is another folder for backups.

    What is said before that line must hold one of the words in ``besides``, line by line. ``shown``: the page
    "When something goes wrong" has that line.
    """

    argv: Sequence[str | Path]
    status: int
    what: str
    unchanged: str = ""
    hint: str = ""
    besides: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    storage: Path | None = None
    shown: bool = False


def fail(
    project: Project, *cases: Case, env: Mapping[str, str] | None = None, folder: Path | None = None
) -> list[Done]:
    """Runs them in one process; each must end as it says, and all of them must change nothing: see
    :func:`nothing_changes` for ``env`` and ``folder``."""
    with nothing_changes(project, env=env, folder=folder):
        commands = [Command(case.argv, case.settings, case.storage) for case in cases]
        results = run_many(project, *commands, env=env)
    for case, done in zip(cases, results, strict=True):
        assert_one_line(
            done,
            case.status,
            what=case.what,
            unchanged=case.unchanged,
            hint=case.hint,
            besides=case.besides,
            shown=case.shown,
        )
        assert project.server.password not in done.output
    return results


def assert_one_line(
    done: Done,
    status: int,
    *,
    what: str,
    unchanged: str = "",
    hint: str = "",
    besides: Sequence[str] = (),
    shown: bool = False,
) -> None:
    """It ended with ``status``, no traceback, and one line of error that says all three, in this order;
    ``shown`` as for a :class:`Case`."""
    *notes, last = done.ended(status).stderr.splitlines() or [""]
    assert last.startswith(START) and last.endswith("."), done.output
    rest = last
    for part in filter(None, (what, unchanged, hint)):
        _, found, rest = rest.partition(part)
        assert found, f"{part!r} is not in its place in {last!r}"
    # A tree whose earlier backups were taken away is read whole, and says so.
    for note in notes:
        expected = (*besides, "every file is read and stored again")
        assert any(words in note for words in expected), f"also said: {note!r}"
    if shown:
        assert_shown(done.stderr)


@contextmanager
def nothing_changes(
    project: Project, *, folder: Path | None = None, env: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Whatever goes wrong within: what is live stays as it was, nothing lies beside it, no backup is made,
    changed or lost, and ``list_backups --orphans`` shows all that is left in storage.

    The objects are files in ``folder``, of the project's storage if not given; ``env`` leads commands there.
    """
    place = folder or project.storage
    live, backups = state.of_project(project), _manifests(place)
    yield
    changed = state.differences(live, state.of_project(project)) + state.leftovers(project)
    assert not changed, f"no longer as before: {changed}"
    assert _manifests(place) == backups, "the backups are not those of before"
    if left := loose(place):
        unseen = left - shown(project, env)
        assert not unseen, f"left, and nobody is told of it: {unseen}"


def loose(folder: Path) -> set[str]:
    """The keys in a storage folder, by looking there, that no manifest names and that are no records of runs.

    What a manifest names is written in it word by word. The parts of an upload, where rclone keeps them, are
    seen by nobody: the upload is shown, if it is.
    """
    root = folder / "igny8"
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    said = b"".join(_manifests(folder).values()).decode(errors="replace")
    records = {key for key in found if key.startswith("runs/") and key.endswith(".json")}
    manifests = {key for key in found if key.endswith("/manifest.json")}
    parts = {key for key in found if "/.rclone_temp_multipart_" in key}
    return {key for key in found - manifests - records - parts if f'"{key}"' not in said}


def shown(project: Project, env: Mapping[str, str] | None = None) -> set[str]:
    """The keys that ``list_backups --orphans`` shows; of an unfinished upload the key it was to have."""
    (done,) = run_many(project, ["list_backups", "--orphans", "--json"], env=env)
    report = done.ended(0).json
    return {item["key"] for name in ("litter", "in_use", "doubtful") for item in report[name]}


def _manifests(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in folder.glob("igny8/backups/*/manifest.json")}
