"""``extract_backup`` changes nothing live, and creates complete databases and folders or none."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases.stage import plain_dump
from tests.management import state
from tests.management.clients import client_folder
from tests.management.commands import Command, run_many
from tests.operations.conftest import Saved
from tests.services.project import Project


@pytest.fixture
def unchanged(saved: Saved, tmp_path: Path) -> Iterator[Saved]:
    """Make the live data equal to the backup, check that the test leaves it so, and drop new databases."""
    if state.differences(saved.before, state.of_project(saved.project)):  # other tests may have changed it
        for done in run_many(saved.project, saved.restore, ["undo_restore", "--discard", "--noinput"]):
            done.ended(0)
    before = state.of_project(saved.project)
    yield saved
    assert state.differences(before, state.of_project(saved.project)) == []
    for name in saved.project.databases():
        if name != saved.project.database:
            saved.project.server.drop_database(name)


def extract(saved: Saved, *options: str | Path) -> list[str | Path]:
    return ["extract_backup", saved.id, "--identity", saved.project.identity, *options]


def copies(project: Project) -> list[str]:
    return [name for name in project.databases() if name != project.database]


def test_extract_to_database_creates_a_copy(unchanged: Saved) -> None:
    project = unchanged.project
    copy, tables = f"{project.database}_copy", f"{project.database}_tables"
    to_copy = extract(unchanged, "--to-database", copy)
    to_tables = extract(unchanged, "--to-database", tables, "--table", "content_tag")
    planned, planned_json, made, again, live, one, bare, unknown, tree, moved = run_many(
        project,
        [*to_copy, "--dry-run"],
        [*to_tables, "--dry-run", "--json"],
        [*to_copy, "--migrate", "--json"],
        to_copy,
        extract(unchanged, "--to-database", project.database),
        to_tables,
        extract(unchanged, "--to-dir", "/x", "--table", "content_tag"),
        extract(unchanged, "--to-database", "x", "--table", "no_such"),
        extract(unchanged, "--to-database", "x", "--only", "uploads"),
        extract(unchanged, "--only", "db"),
    )
    text = f"/{copy}\n  space for a second copy of default on the volume of "
    assert text in planned.ended(0).stdout
    assert planned.stdout.endswith("\nDry run: nothing was changed.\n")
    assert [space["kind"] for space in planned_json.ended(0).json["spaces"]] == []
    small_disk = [*extract(unchanged, "--to-database", "other"), "--dry-run", "--assume-space", "1MB"]
    small, ignored = run_many(project, small_disk, [*small_disk, "--ignore-space"])
    assert "1.0 MB free (assumed)" in small.ended(4).stderr and "--ignore-space" in small.stderr
    assert "1.0 MB assumed to be free" in ignored.ended(0).stdout
    assert planned_json.ended(0).json["databases"][0]["tables"] == ["public.content_tag"]
    assert made.ended(0).json == {"databases": [copy], "folders": [], "left_out": [], "warnings": []}
    assert f"The database {copy} exists already" in again.ended(4).stderr
    assert "is the database of the application" in live.ended(4).stderr
    assert f"Created the database {tables}" in one.ended(0).stdout
    assert "--table needs --to-database NAME" in bare.ended(2).stderr
    assert "'no_such' is not in the backup" in unknown.ended(2).stderr
    assert "Give --only ALIAS" in tree.ended(2).stderr
    assert "Give --to-database NAME, --to-dir DIR, or both" in moved.ended(2).stderr
    assert copies(project) == [copy, tables]
    assert plain_dump(project.server, copy) == plain_dump(project.server, project.database)
    option = "--table=content_tag*"
    assert plain_dump(project.server, tables, option) == plain_dump(project.server, project.database, option)
    # Only its owner may connect. Its comment names the backup.
    query = "SELECT datacl::text, shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
    acl, comment = project.sql(query, copy)[0]
    assert acl == "{igny8=CTc/igny8}"
    assert comment == f"igny8_backup: default of backup {unchanged.id}"


def test_extract_that_fails_leaves_nothing(unchanged: Saved) -> None:
    project = unchanged.project
    broken = client_folder(
        project.folder / "broken", project.server.bin_dir,
        pg_restore='[ "$1" = --list ] && exec "$REAL/pg_restore" "$@"\nhead -c 1000 > /dev/null; exit 1',
    )  # fmt: skip
    copy = f"{project.database}_copy"
    # What a killed command leaves. It may still be running, so nothing is removed.
    forgotten, previous = f"{copy}__side_20200101T000000Z", f"{copy}__before_20200101T000000Z"
    for name in (forgotten, previous):
        project.server.create_database(name)
    (unfinished := project.folder / "killed" / ".igny8_backup-unfinished-uploads").mkdir(parents=True)
    seen, refused = run_many(
        project,
        extract(unchanged, "--to-database", copy, "--dry-run"),
        extract(unchanged, "--to-dir", unfinished.parent),
    )
    assert f'DROP DATABASE "{forgotten}";' in seen.ended(0).stdout and previous not in seen.stdout
    assert f"If none is running: rm -r {unfinished}." in refused.ended(4).stderr
    for name in (forgotten, previous):
        project.server.drop_database(name)
    folder = project.folder / "found"
    pack = next((project.storage / "igny8/packs/web-1/uploads").iterdir())
    data = pack.read_bytes()
    pack.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    failed, damaged = run_many(
        project,
        Command(extract(unchanged, "--to-database", copy), {"CLIENT_BIN_DIR": str(broken)}),
        extract(unchanged, "--to-dir", folder),
    )
    pack.write_bytes(data)
    assert "pg_restore failed" in failed.ended(1).stderr
    assert copies(project) == []
    assert pack.name in damaged.ended(6).stderr
    assert [path.name for path in folder.iterdir()] == ["sites-data"], "the complete tree stays"


def test_extract_to_dir_writes_trees_and_chosen_paths(unchanged: Saved) -> None:
    project = unchanged.project
    whole, part, dry = (project.folder / name for name in ("whole", "part", "dry"))
    site = sorted(path.name for path in project.sites.iterdir() if path.is_dir())[0]
    used = project.folder / "used"
    used.mkdir(exist_ok=True)
    (used / "mine").touch()
    loop = project.folder / "loop"
    loop.unlink(missing_ok=True)
    loop.symlink_to(loop)
    all_of_it, chosen, planned, nothing, full, inside, nowhere, logs, lost = run_many(
        project,
        extract(unchanged, "--to-dir", whole),
        extract(unchanged, "--to-dir", part, "--path", site, "--path", "*/[0-9]*", "--json"),
        extract(unchanged, "--to-dir", dry, "--path", "**/*.html", "--dry-run", "--json"),
        extract(unchanged, "--to-dir", dry, "--path", "no such"),
        extract(unchanged, "--to-dir", used),
        extract(unchanged, "--to-dir", project.uploads / "new"),
        extract(unchanged, "--to-database", "x", "--path", site),
        extract(unchanged, "--to-dir", dry, "--only", "logs"),
        extract(unchanged, "--to-dir", loop / "new"),
    )
    assert "Too many levels of symbolic links" in lost.ended(1).stderr
    assert f"Created the folder {whole / 'uploads'}" in all_of_it.ended(0).stdout
    for root in (project.sites, project.uploads):
        live, made = state.of_tree(root), state.of_tree(whole / root.name)
        assert live.pop("the root") != made.pop("the root")
        assert made == live
        assert stat.S_IMODE((whole / root.name).stat().st_mode) == 0o700
    assert str(part / "sites-data") in chosen.ended(0).json["folders"]
    assert [path.name for path in (part / "sites-data").iterdir()] == [site]
    assert same_below(project.sites / site, part / "sites-data" / site)
    files = planned.ended(0).json["trees"][0]["files"]
    assert files == len([path for path in project.sites.rglob("*.html") if not path.is_symlink()])
    assert "No path in sites-data, uploads matches no such" in nothing.ended(2).stderr
    assert "is not empty" in full.ended(4).stderr
    assert "contains the other" in inside.ended(4).stderr
    assert "--path needs --to-dir DIR" in nowhere.ended(2).stderr
    logs.ended(0)
    assert [path.name for path in dry.iterdir()] == ["logs"]


def same_below(one: Path, other: Path) -> bool:
    return state.of_tree(one) == state.of_tree(other)


def test_extract_reads_only_packs_with_chosen_files(unchanged: Saved) -> None:
    """The packs are missing, which matters only if file contents are extracted.

    The lists that describe the packs stay.
    """
    project = unchanged.project
    links, files = project.folder / "links", project.folder / "files"
    packs = list((project.storage / "igny8/packs").rglob("*.age"))
    assert packs
    for pack in packs:
        pack.rename(pack.with_suffix(".away"))
    try:
        linked, needed = run_many(
            project,
            extract(unchanged, "--to-dir", links, "--path", "**/dangling", "--path", "**/empty folder"),
            extract(unchanged, "--to-dir", files, "--path", "**/empty file"),
        )
    finally:
        for pack in packs:
            pack.with_suffix(".away").rename(pack)
    linked.ended(0)
    (odd,) = (links / "sites-data").rglob("odd")
    assert sorted(path.name for path in odd.iterdir()) == ["dangling", "empty folder"]
    assert "is missing in" in needed.ended(1).stderr
    assert not files.exists()


def test_extract_of_a_hard_link_includes_its_target(unchanged: Saved) -> None:
    project = unchanged.project
    folder = project.folder / "linked"
    (done,) = run_many(project, extract(unchanged, "--to-dir", folder, "--path", "**/run.sh"))
    done.ended(0)
    (odd,) = (folder / "sites-data").rglob("odd")
    one, other = odd / "run.sh", odd / "run-hard-link.sh"
    assert one.stat().st_ino == other.stat().st_ino and one.stat().st_size > 0
    assert len(list(odd.iterdir())) == 2


NEED_A_DATABASE = [["--migrate"], ["--sanitize"], ["--no-owner"], ["--locale", "C.UTF-8"]]


def test_extract_options_without_effect_are_refused(saved: Saved) -> None:
    cases = [
        *((given, "needs --to-database NAME", ["--to-dir", "/x"]) for given in NEED_A_DATABASE),
        (["--allow-set-id"], "needs --to-dir DIR", ["--to-database", "x"]),
        *(
            (given, "cannot be combined with --table", ["--to-database", "x", "--table", "y"])
            for given in NEED_A_DATABASE[:2]
        ),
    ]
    refused = run_many(saved.project, *(extract(saved, *given, *others) for given, _, others in cases))
    for (given, reason, _), done in zip(cases, refused, strict=True):
        assert f"{given[0]} {reason}" in done.ended(2).stderr.replace("works on a complete database and ", "")
