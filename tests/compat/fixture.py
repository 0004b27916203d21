"""Set up the test project from the stored fixture in ``written_before/``, and describe what a project holds.

Both the tests and ``make_fixtures.py`` use this module. It imports nothing from ``igny8_backup``: the fixture
must outlast every reorganisation of the package.
"""

from __future__ import annotations

import grp
import hashlib
import json
import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import psycopg
from demo import fingerprint
from demo.server import PostgresServer
from psycopg import sql

from tests.services.project import Project

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

FOLDER = Path(__file__).with_name("written_before")
ENCRYPTED, PLAIN, SQLITE = "encrypted", "plain", "sqlite"
"""The storages. The first is encrypted with age and holds two backups; the others are plain and hold one."""
RESTORES = "restores"
"""The folder of the journals in ``STATE_DIR``."""
OWN = (b".before-", b".igny8_backup-")
"""How the names begin that a restore gives to the trees it builds and keeps."""
SCHEMA = tuple(
    f"the {kind}" for kind in ("relations", "indexes", "triggers", "functions", "views", "labels", "comments")
)
"""What ``fingerprint.of_database`` says of the schema and PostgreSQL 15 to 18 put in the same words."""

CHANGES_SINCE_THE_BACKUP = (
    "UPDATE content_tag SET name = name || ' (changed since)'",
    "DELETE FROM igny8_sites_pageview WHERE id % 2 = 0",
)
"""These turn the database of the newest backup into the one that was live when the restore began."""


def expected() -> dict[str, Any]:
    """Return what was recorded with the fixture: ids, contents, and facts about each interrupted restore."""
    found: dict[str, Any] = json.loads((FOLDER / "expected.json").read_text())
    return found


def open_project(server: PostgresServer, folder: Path, storage: str = ENCRYPTED) -> Project:
    """Return a project with a copy of that storage, and of ``STATE_DIR``; its database does not exist yet."""
    project = Project(server, folder)
    for source, target in ((f"{storage}/storage", project.storage), (f"{storage}/state", project.state)):
        shutil.copytree(FOLDER / source, target, dirs_exist_ok=True)
    shutil.copy(FOLDER / "identity.txt", project.identity)
    project.identity.chmod(0o600)
    if storage == ENCRYPTED:
        project.environment["IGNY8_BACKUP_RECIPIENTS"] = recipient(project.identity)
    else:
        do_without_encryption(project)
    if storage == SQLITE:
        use_sqlite(project)
    return project


def do_without_encryption(project: Project) -> None:
    """Have the project store its backups in the clear."""
    del project.environment["IGNY8_BACKUP_RECIPIENTS"]
    project.environment["IGNY8_BACKUP_ENCRYPTION"] = "none"


def use_sqlite(project: Project) -> None:
    """Give the project a SQLite file, ``db``, as its database, and DEBUG, which SQLite needs."""
    engine, path = "django.db.backends.sqlite3", str(project.folder / "db")
    project.settings(f"DATABASES['default'] = {{'ENGINE': {engine!r}, 'NAME': {path!r}}}")
    project.environment |= {"DJANGO_DEBUG": "1", "DATABASE_URL": ""}


def recipient(identity: Path) -> str:
    """Return the public key that an identity file names in its comment."""
    return identity.read_text().splitlines()[0].removeprefix("# public key: ")


def fill_database(project: Project, name: str, *, live: bool) -> None:
    """Create a database with the contents of the newest backup, or with those that the restore replaced."""
    (dump,) = (FOLDER / PLAIN / "storage").rglob("default.dump.zst")
    project.server.create_database(name)
    subprocess.run(
        [project.server.bin_dir / "pg_restore", "--dbname", project.server.url(name), "--exit-on-error"],
        input=zstd.decompress(dump.read_bytes()),
        check=True,
        capture_output=True,
    )
    if live:
        for statement in CHANGES_SINCE_THE_BACKUP:
            project.sql(statement, database=name)


def pack_trees(folder: Path, archive: Path, *names: str) -> None:
    """Write folders into an archive that keeps times to the nanosecond, holes and extended attributes."""
    options = ("--format=posix", "--sparse", "--xattrs", "--xattrs-include=user.*", "--numeric-owner")
    subprocess.run(["tar", *options, "-C", folder, "-czf", archive, *names], check=True)


def unpack_trees(archive: Path, folder: Path) -> None:
    """Bring back what ``pack_trees`` wrote."""
    options = ("--xattrs", "--xattrs-include=user.*", "--numeric-owner", "--warning=no-timestamp")
    subprocess.run(["tar", *options, "-C", folder, "-xpzf", archive], check=True, capture_output=True)


def adopt_trees(project: Project, backup_id: str) -> None:
    """Make the remembered indexes fit the unpacked trees: inodes, times of change and owners are new ones.

    All else in the indexes of this backup stays byte for byte what the old code wrote.
    """
    for index in (project.state / "indexes").rglob(f"{backup_id}.index"):
        root = os.fsencode(project.folder / index.parent.name)
        lines = [_adopted(line, root) for line in index.read_text().splitlines(keepends=True)]
        before = hashlib.sha256(index.read_bytes()).hexdigest()
        index.write_text("".join(lines))
        after = hashlib.sha256(index.read_bytes()).hexdigest()
        about = index.with_suffix(".json")
        assert before in about.read_text()
        about.write_text(about.read_text().replace(before, after))


def _adopted(line: str, root: bytes) -> str:
    fields = json.loads(line)
    if "inode" not in fields:
        return line
    status = os.lstat(os.path.join(root, unquote_to_bytes(fields["path"].encode())))
    new: dict[str, int | str] = {"inode": status.st_ino, "ctime_ns": status.st_ctime_ns}
    if os.geteuid():  # who is not root cannot give files to their owners
        new |= {"uid": status.st_uid, "gid": status.st_gid}
        new |= {"user": _name(lambda: pwd.getpwuid(status.st_uid).pw_name)}
        new |= {"group": _name(lambda: grp.getgrgid(status.st_gid).gr_name)}
    for name, value in new.items():
        line, count = re.subn(rf'"{name}":(\d+|"[^"]*")', f'"{name}":{json.dumps(value)}', line)
        assert count == 1
    return line


def _name(look_up: Callable[[], str]) -> str:
    try:
        return look_up()
    except KeyError:
        return ""


def contents_of(project: Project) -> dict[str, Any]:
    """Return everything live: the database and each tree, as JSON has it."""
    with project.server.connect(project.database) as connection:
        found: dict[str, Any] = {"database": contents_of_database(connection)}
    for root in (project.sites, project.uploads):
        found[root.name] = contents_of_tree(root)
    return found


def contents_of_database(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    """Return a fingerprint of the database; of the schema only digests, since it is long."""
    found = fingerprint.of_database(connection)
    schema = {name: hashlib.sha256(repr(found[name]).encode()).hexdigest() for name in SCHEMA}
    rows = {name: value for name, value in found.items() if not name.startswith("the ")}
    plain: dict[str, Any] = json.loads(json.dumps(rows, default=str))
    return plain | schema


def contents_of_tree(root: Path) -> dict[str, list[Any]]:
    """Return mode, owner, time, contents and attributes of all in a tree, without what restores keep."""
    top = os.fsencode(root)
    first: dict[int, str] = {}
    found = {}
    for path in sorted(_below(top)):
        status = os.lstat(path)
        name = os.fsdecode(os.path.relpath(path, top))
        contents: Any = None
        if stat.S_ISREG(status.st_mode):
            digest = hashlib.sha256(Path(os.fsdecode(path)).read_bytes()).hexdigest()
            contents = [status.st_size, digest, first.setdefault(status.st_ino, name)]
        elif stat.S_ISLNK(status.st_mode):
            contents = os.fsdecode(os.readlink(path))
        xattrs = {}
        if not stat.S_ISLNK(status.st_mode):
            attributes = [item for item in os.listxattr(path) if item.startswith("user.")]
            xattrs = {item: os.getxattr(path, item).hex() for item in attributes}
        owner = f"{status.st_uid}:{status.st_gid}"
        found[name] = [oct(status.st_mode), owner, status.st_mtime_ns, contents, xattrs]
    return found


def _below(top: bytes) -> list[bytes]:
    found = [top]
    for folder, folders, files in os.walk(top):
        if folder == top:
            folders[:] = [name for name in folders if not name.startswith(OWN)]
        found += [os.path.join(folder, name) for name in (*folders, *files)]
    return found


def differences(project: Project, wanted: dict[str, Any]) -> list[str]:
    """Return one line for each thing live that is not as it was recorded.

    Owners count where root runs the tests, extended attributes where the filesystem has them.
    """
    columns = [0, 2, 3]
    columns += [1] if os.geteuid() == 0 else []
    columns += [4] if _has_xattrs(project.identity) else []
    _remove_new_permissions(project)
    contents = contents_of(project)
    lines = []
    for part, before in wanted.items():
        after = contents[part]
        if part != "database":
            before, after = (
                {name: [item[column] for column in columns] for name, item in tree.items()}
                for tree in (before, after)
            )
        lines += [f"{part}: {line}" for line in fingerprint.differences(before, after)]
    return lines


def _remove_new_permissions(project: Project) -> None:
    """Remove the permissions for the pages in the admin, which ``migrate`` adds to an old backup."""
    ours = "SELECT id FROM django_content_type WHERE app_label = 'igny8_backup'"
    if project.environment["DATABASE_URL"] and project.sql(ours):
        project.sql(f"DELETE FROM auth_permission WHERE content_type_id IN ({ours})")
        project.sql(f"DELETE FROM django_content_type WHERE id IN ({ours})")
        for table in ("auth_permission", "django_content_type"):
            project.sql(f"SELECT setval('{table}_id_seq', max(id)) FROM {table}")


def _has_xattrs(file: Path) -> bool:
    try:
        os.setxattr(file, "user.test", b"1")
    except OSError:
        return False
    os.removexattr(file, "user.test")
    return True


def system_identifier(server: PostgresServer) -> str:
    """Return the number that tells this server's data from that of all others."""
    with server.connect() as connection:
        row = connection.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone()
    assert row
    return str(row[0])


def interrupt(project: Project, moment: str) -> None:
    """Rebuild the databases, the trees and the journal that the old code left when it was killed."""
    source, facts = FOLDER / "interrupted" / moment, expected()["interrupted"][moment]
    for name, about in facts["databases"].items():
        name = name.replace("@DATABASE@", project.database)
        fill_database(project, name, live=about["live"])
        project.sql(_comment(name, about["comment"]))
    unpack_trees(source / "trees.tar.gz", project.folder)
    (project.state / RESTORES).mkdir(mode=0o700)
    for journal in (source / RESTORES).iterdir():
        text = journal.read_text()
        for place, value in (
            ("@ROOT@", str(project.folder)),
            ("@DATABASE@", project.database),
            ("@SYSTEM@", system_identifier(project.server)),
        ):
            text = text.replace(place, value)
        text = re.sub(r"@INODE:(\d+)@", lambda match: _inode(project, facts["inodes"][int(match[1])]), text)
        (project.state / RESTORES / journal.name).write_text(text)


def _comment(database: str, text: str) -> str:
    return (
        sql.SQL("COMMENT ON DATABASE {} IS {}")
        .format(sql.Identifier(database), sql.Literal(text))
        .as_string()
    )


def _inode(project: Project, path: str) -> str:
    return str(os.lstat(project.folder / path).st_ino)
