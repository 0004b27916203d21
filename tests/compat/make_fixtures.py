"""Write the fixture in ``written_before/``: run with the code whose stored formats later code must read.

    PYTHONPATH=.:testproject python tests/compat/make_fixtures.py

The script needs PostgreSQL 15, root (for files of several owners) and a filesystem with extended attributes.
It is kept to show how the fixture was made. When a stored format changes on purpose, write a second fixture
beside the first: the first one still proves that old backups can be restored.
"""

# ruff: noqa: E402 - Django is set up first
from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django.setup()  # the test project's models are imported below

from demo.account import private_folder
from demo.installed import installed
from demo.seed import fill_postgres
from demo.server import PostgresServer

from tests.compat.fixture import (
    ENCRYPTED,
    FOLDER,
    PLAIN,
    RESTORES,
    SQLITE,
    contents_of,
    contents_of_database,
    do_without_encryption,
    fill_database,
    open_project,
    pack_trees,
    system_identifier,
    unpack_trees,
    use_sqlite,
)
from tests.services.project import Project, create, drop

SITECUSTOMIZE = '''
"""Kill this process when it renames for the N-th time a file whose name matches; see make_fixtures.py."""
import ctypes, errno, os, re, signal, sys

NAME, number, EXCHANGE = os.environ["KILL_AT_NAME"], int(os.environ["KILL_AT_NUMBER"]), os.environ["EXCHANGE"]

def renames(name):
    global number
    if re.fullmatch(NAME, os.path.basename(os.fsdecode(name))):
        number -= 1
        if number == 0:
            os.kill(os.getpid(), signal.SIGKILL)

def hook(event, arguments):
    if event == "os.rename":
        renames(arguments[0])

class Library(ctypes.CDLL):
    def __getattr__(self, name):
        call = super().__getattr__(name)
        if name != "renameat2":
            return call
        def renameat2(source, old, target, new, flags):
            renames(old)
            if flags == 2 and EXCHANGE == "no":  # as on a filesystem that cannot exchange two names
                ctypes.set_errno(errno.EINVAL)
                return -1
            return call(source, old, target, new, flags)
        setattr(self, name, renameat2)  # in the place of what CDLL has remembered
        return renameat2

ctypes.CDLL = Library
sys.addaudithook(hook)
'''

MOMENTS: dict[str, dict[str, Any]] = {
    # Everything is prepared beside what is live, nothing is swapped.
    "preparing": {"name": r"journal\.partial", "number": 2},
    # The database is swapped, the trees are not.
    "between": {"name": r"alpha\.example"},
    # Some children of the first tree are swapped; the second tree will be swapped whole.
    "amid": {"name": r"charlie\.example", "settings": "IGNY8_BACKUP |= {'SWAP_WHOLE': ['uploads']}"},
    # The filesystem cannot exchange two names; of the three renames that do so instead one is done.
    "half_renamed": {"name": r"charlie\.example", "number": 3, "exchange": "no"},
    # Both trees are swapped, the second one whole; the old second tree does not have its final name yet.
    "not_kept": {
        "name": r"\.igny8_backup-side-.*-uploads",
        "settings": "IGNY8_BACKUP |= {'SWAP_WHOLE': ['uploads']}",
    },
    # undo_restore has brought back the database and some children of the first tree.
    "undoing": {"name": r"charlie\.example", "command": ["undo_restore"]},
    # The restore was not interrupted, and its previous state is kept.
    "done": {},
    # The restore and the undo_restore after it were not interrupted.
    "undone": {"command": ["undo_restore"]},
}
NEW_TAG = "INSERT INTO content_tag (name) VALUES ('the second night')"
ODD_NAMES = (
    b"caf\xe9 in latin-1",
    b"two\nlines",
    b" blanks ",
    b"100%41",
    b'"quoted" \\',
    "ü €".encode(),
)
HANDS_OFF = 2.1
"""Seconds after which a backup trusts the times of a file."""
LAST_YEAR = 1_760_000_000 * 10**9
"""The time of the files, in nanoseconds since the epoch."""


def write_trees(sites: Path, uploads: Path) -> None:
    """Write the trees of the first backup: what trees mostly hold, and what backups may stumble over."""
    for name in ("alpha.example", "charlie.example", "delta.example"):
        (sites / name / "blog").mkdir(parents=True)
        (sites / name / "index.html").write_text(f"<title>{name}</title>\n" * 20)
        (sites / name / "blog" / "post.html").write_text(f"A post of {name}.\n" * 30)
    odd = sites / "alpha.example" / "odd"
    odd.mkdir()
    for odd_name in ODD_NAMES:
        Path(odd, os.fsdecode(odd_name)).write_bytes(b"named " + odd_name)
    Path(sites, os.fsdecode(b"caf\xe9.txt")).write_text("in the root\n")
    (odd / "empty folder").mkdir(mode=0o750)
    (odd / "empty file").touch()
    (odd / "link").symlink_to("../index.html")
    (odd / "dangling").symlink_to("nowhere")
    (odd / "run.sh").write_text("#!/bin/sh\n")
    (odd / "run.sh").chmod(0o755)
    os.link(odd / "run.sh", odd / "same.sh")
    (odd / "described").write_text("with an extended attribute\n")
    os.setxattr(odd / "described", "user.comment", b"bytes \xff of an attribute")
    (odd / "owned").write_text("by somebody without a name\n")
    os.chown(odd / "owned", 12345, 12346)
    with (uploads / "sparse").open("wb") as file:
        file.write(b"begin")
        file.seek(1 << 20)
        file.write(b"end")
    (uploads / "2026").mkdir()
    for number in range(3):
        (uploads / "2026" / f"photo {number}.jpg").write_bytes(os.urandom(2_000))
    set_times(0, sites, uploads)


def change_trees(sites: Path, uploads: Path) -> None:
    """Bring the trees to the state of the second backup."""
    (sites / "alpha.example" / "index.html").write_text("<title>changed</title>\n")
    (sites / "alpha.example" / "blog" / "second.html").write_text("written on the second day\n")
    (uploads / "2026" / "photo 0.jpg").unlink()
    set_times(1, sites / "alpha.example", uploads)


def change_live(sites: Path, uploads: Path) -> None:
    """Bring the trees to the state in which the restore finds them: all that a swap must tell apart."""
    (sites / "alpha.example" / "index.html").write_text("<title>defaced</title>\n")
    (sites / "bravo.example").mkdir()
    (sites / "bravo.example" / "index.html").write_text("a site since the backup\n")
    shutil.rmtree(sites / "delta.example")
    (uploads / "2026" / "photo 1.jpg").write_bytes(b"overwritten")
    sites.chmod(0o750)
    set_times(2, sites, uploads)


def set_times(day: int, *roots: Path) -> None:
    """Give everything a time of that day, to the nanosecond, and the same in every run."""
    for root in roots:
        for folder, _, names in os.walk(os.fsencode(root), topdown=False):
            for name in (*names, b"."):
                path = os.path.join(folder, name)
                own = sum(path[len(os.fsencode(root)) :]) * 1_234_567
                moment = LAST_YEAR + day * 86_400 * 10**9 + own
                os.utime(path, ns=(moment, moment), follow_symlinks=False)


def make_storages(server: PostgresServer, folder: Path) -> dict[str, Any]:
    """Write the two storages with their ``STATE_DIR`` and trees; return what is to be expected of them."""
    project = create(server, folder)
    with server.connect(project.database) as connection:
        fill_postgres(connection, 1)
    write_trees(project.sites, project.uploads)
    time.sleep(HANDS_OFF)
    found: dict[str, Any] = {"contents": {"first": contents_of(project)}}
    first = backup(project, "--label", "first")
    project.sql(NEW_TAG)
    change_trees(project.sites, project.uploads)
    time.sleep(HANDS_OFF)
    found["contents"]["second"] = contents_of(project)
    second = backup(project, "--label", "second")
    project.run("verify_backup", first, check=True)
    project.run("verify_backup", second, "--depth", "content", "--identity", project.identity, check=True)
    project.run("pin_backup", first, "--reason", "the first of all", check=True)
    shutil.copy(project.identity, FOLDER / "identity.txt")
    keep(project, ENCRYPTED)
    pack_trees(project.folder, FOLDER / "trees.tar.gz", "sites-data", "uploads")

    forget(project)
    do_without_encryption(project)
    plain = backup(project)
    keep(project, PLAIN)
    drop(project)

    forget(project)
    use_sqlite(project)
    with closing(sqlite3.connect(project.folder / "db")) as session, session:
        session.execute("CREATE TABLE kept (id integer PRIMARY KEY, word text)")
        session.execute("INSERT INTO kept (word) VALUES ('one'), ('two')")
    sqlite = backup(project)
    keep(project, SQLITE)
    ids = {"first": first, "second": second, "plain": plain, "sqlite": sqlite}
    return found | {"ids": ids, "interrupted": {}}


def forget(project: Project) -> None:
    """Empty the storage and ``STATE_DIR``."""
    for path in (project.storage, project.state):
        shutil.rmtree(path)
        path.mkdir()


def backup(project: Project, *options: str) -> str:
    """Back everything up and return the id."""
    done = project.run("backup_all", "--json", *options, check=True)
    return str(json.loads(done.stdout)["manifest"]["id"])


def keep(project: Project, storage: str) -> None:
    """Copy the storage and ``STATE_DIR`` into the fixture; locks are of no use to another process."""
    shutil.copytree(project.storage, FOLDER / storage / "storage")
    shutil.copytree(project.state, FOLDER / storage / "state", ignore=shutil.ignore_patterns("*.lock"))


def make_interrupted(server: PostgresServer, folder: Path, moment: str, found: dict[str, Any]) -> None:
    """Restore the second backup over what is live, be killed at that moment, and keep what is there then."""
    how = MOMENTS[moment]
    folder.mkdir()
    project = open_project(server, folder)
    fill_database(project, project.database, live=True)
    project.sql(f"COMMENT ON DATABASE {project.database} IS 'the application''s'")
    unpack_trees(FOLDER / "trees.tar.gz", project.folder)
    change_live(project.sites, project.uploads)
    found["contents"]["live"] = contents_of(project)
    project.settings(how.get("settings", ""))
    restore = ["restore_all", "--noinput", "--database-name", project.database]
    restore += ["--identity", str(project.identity)]
    command = how.get("command", restore)
    if command != restore:
        project.run(*restore, check=True)
    if "name" in how:
        (folder / "killer").mkdir()
        (folder / "killer" / "sitecustomize.py").write_text(SITECUSTOMIZE)
        environment = {
            "PYTHONPATH": f"{folder / 'killer'}:{project.environment['PYTHONPATH']}",
            "KILL_AT_NAME": how["name"],
            "KILL_AT_NUMBER": str(how.get("number", 1)),
            "EXCHANGE": how.get("exchange", "yes"),
        }
        done = project.run(*command, env=environment)
        assert done.returncode == -9, (moment, done)
    else:
        project.run(*command, check=True)

    target = FOLDER / "interrupted" / moment
    target.mkdir(parents=True)
    beside = sorted(path.name for path in project.folder.glob(".*"))
    pack_trees(project.folder, target / "trees.tar.gz", "sites-data", "uploads", *beside)
    inodes: dict[int, str] = {}
    shutil.copytree(project.state / RESTORES, target / RESTORES)
    for journal in (target / RESTORES).iterdir():
        journal.write_text(placeholders(journal.read_text(), project, inodes))
    found["interrupted"][moment] = {
        "databases": {
            name.replace(project.database, "@DATABASE@"): about_database(project, name, found)
            for name in project.databases()
        },
        "inodes": list(inodes.values()),
    }
    drop(project)


def placeholders(text: str, project: Project, inodes: dict[int, str]) -> str:
    """Replace what is of this run alone in a journal; ``inodes`` collects the paths of replaced inodes."""
    for value, place in (
        (str(project.folder), "@ROOT@"),
        (project.database, "@DATABASE@"),
        (system_identifier(project.server), "@SYSTEM@"),
    ):
        text = text.replace(value, place)
    paths: dict[int, str] = {}
    for folder in (project.sites, project.uploads, *project.folder.glob(".*")):
        for path in (folder, *folder.iterdir(), *folder.glob(".*/*"), *folder.glob("*/.*")):
            paths[path.lstat().st_ino] = str(path.relative_to(project.folder))

    def replaced(match: re.Match[str]) -> str:
        inode = int(match[0])
        if inode not in paths:
            return match[0]
        inodes.setdefault(inode, paths[inode])
        return f"@INODE:{list(inodes).index(inode)}@"

    return re.sub(r"(?<![\w@.:])\d{3,}(?![\w@.])", replaced, text)


def about_database(project: Project, name: str, found: dict[str, Any]) -> dict[str, Any]:
    """Tell which of the two contents a database has, and its comment."""
    with project.server.connect(name) as connection:
        contents = contents_of_database(connection)
    live = contents == found["contents"]["live"]["database"]
    assert live or contents == found["contents"]["second"]["database"], name
    ((comment,),) = project.sql(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", name
    )
    return {"live": live, "comment": (comment or "").replace(project.database, "@DATABASE@")}


def main() -> None:
    """Write the whole fixture; its folder must not exist, but for the README."""
    os.umask(0o022)
    bin_dir = installed(15)
    assert bin_dir, "PostgreSQL 15 is not installed"
    base = private_folder("igny8-fixture-")
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, base)
        server = stack.enter_context(PostgresServer(bin_dir, base, durable=False))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "backups").mkdir()
        found = make_storages(server, folder / "backups")
        for moment in MOMENTS:
            make_interrupted(server, folder / moment, moment, found)
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        found["written_by"] = commit.stdout.strip()
        (FOLDER / "expected.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
