"""Assert the outcome of bad input: one clear line, the right exit status, no change, no unlisted leftovers.

:func:`fail` runs commands that must fail. A test that causes damage while a command runs does so inside
:func:`nothing_changes` and passes the result to :func:`assert_one_line`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from igny8_backup.errors import IntegrityError
from igny8_backup.formats.manifest_reader import read_manifest
from tests.docs.pages import assert_shown
from tests.management import state
from tests.management.commands import Command, Done, run_many
from tests.services.project import Project

START = "CommandError: "


@dataclass(frozen=True)
class Case:
    """A command that must fail, with its exit status and words of its error line.

    The words are from the three parts of the message: what happened, what was not changed, what to do.
    ``settings`` changes keys of ``IGNY8_BACKUP``; ``storage`` is another folder for backups. Each line above
    the error line must contain one of the texts in ``notes``. ``shown`` means that the documentation contains
    the error line.
    """

    argv: Sequence[str | Path]
    status: int
    what: str
    unchanged: str = ""
    hint: str = ""
    notes: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    storage: Path | None = None
    shown: bool = False


def fail(
    project: Project, *cases: Case, env: Mapping[str, str] | None = None, folder: Path | None = None
) -> list[Done]:
    """Run the cases in one process; each must fail as specified, and none may change anything.

    For ``env`` and ``folder`` see :func:`nothing_changes`.
    """
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
            notes=case.notes,
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
    notes: Sequence[str] = (),
    shown: bool = False,
) -> None:
    """Assert the exit status, and one error line that contains all three texts in this order.

    ``notes`` and ``shown`` are as in :class:`Case`.
    """
    *lines, last = done.ended(status).stderr.splitlines() or [""]
    assert last.startswith(START) and last.endswith("."), done.output
    rest = last
    for part in filter(None, (what, unchanged, hint)):
        _, found, rest = rest.partition(part)
        assert found, f"{part!r} is not in its place in {last!r}"
    # If the earlier backups of a tree were removed, or lie in another storage, notes say so.
    for line in lines:
        expected = (*notes, "every file is read and stored again", "which this host made at")
        assert any(words in line for words in expected), f"unexpected line: {line!r}"
    if shown:
        assert_shown(done.stderr)


@contextmanager
def nothing_changes(
    project: Project, *, folder: Path | None = None, env: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Assert that the block changes nothing: live data, backups, and the files next to live data.

    ``list_backups --orphans`` must list everything that the block leaves in storage. The objects are files in
    ``folder``, by default the storage of the project; ``env`` makes commands use it.
    """
    place = folder or project.storage
    live, backups = state.of_project(project), _manifests(place)
    yield
    changed = state.differences(live, state.of_project(project)) + state.leftovers(project)
    assert not changed, f"changed: {changed}"
    assert _manifests(place) == backups, "the backups were changed"
    if left := loose(place):
        unseen = left - shown(project, env)
        assert not unseen, f"left and not listed: {unseen}"


def loose(folder: Path) -> set[str]:
    """Return the keys in a storage folder that no manifest names and that are not run records or locks.

    The claim of a killed run is removed by the next run that takes the lock.

    A manifest contains the keys of its objects literally, or the numbers of its packs. The parts of an
    upload, which rclone stores as files, are not counted: only the upload can be listed.
    """
    root = folder / "igny8"
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    literal = b"".join(_manifests(folder).values()).decode(errors="replace")
    named: set[str] = set()
    for backup_id, data in _manifests(folder).items():
        with suppress(IntegrityError):
            named |= read_manifest(data, backup_id).named_keys()
    records = {key for key in found if key.startswith(("runs/", "locks/")) and key.endswith(".json")}
    manifests = {key for key in found if key.endswith("/manifest.json")}
    parts = {key for key in found if "/.rclone_temp_multipart_" in key}
    return {key for key in found - manifests - records - parts - named if f'"{key}"' not in literal}


def shown(project: Project, env: Mapping[str, str] | None = None) -> set[str]:
    """Return the keys that ``list_backups --orphans`` lists; for an unfinished upload its intended key."""
    (done,) = run_many(project, ["list_backups", "--orphans", "--json"], env=env)
    report = done.ended(0).json
    return {item["key"] for name in ("litter", "in_use", "doubtful") for item in report[name]}


def _manifests(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in folder.glob("igny8/backups/*/manifest.json")}
