"""The page "Recover by hand" works as written: real programs, a real backup, none of our code."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import blocks, page
from tests.services import unavailable
from tests.services.project import Project

PROGRAMS = ("bash", "age", "zstd", "tar", "sha256sum", "python3")
ROWS = """
    SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables
    WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"""


def tools(project: Project) -> None:
    """Skip the test (in CI: fail it) where a program that the page uses is missing."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    missing += [name for name in ("psql", "pg_restore") if not (project.server.bin_dir / name).is_file()]
    if missing:
        unavailable(f"{', '.join(missing)} not installed.")


def make_odd(root: Path) -> None:
    """Add entries that are hard to restore: odd names, links, read-only folders."""
    odd = os.path.join(os.fsencode(root), b"by hand")
    os.makedirs(os.path.join(odd, b"empty"))
    for name in (
        b"new\nline",
        b"not utf-8 \xff\xfe",
        b"100%25 %41",
        b"-rf",
        "ünïcode €".encode(),
        b"x" * 200,
    ):
        with open(os.path.join(odd, name), "wb") as file:
            file.write(name * 400)
    os.link(os.path.join(odd, b"new\nline"), os.path.join(odd, b"z second\nname"))
    os.symlink(b"new\nline", os.path.join(odd, b"link"))
    os.symlink(b"nowhere \xff", os.path.join(odd, b"dangling"))
    os.mkdir(os.path.join(odd, b"closed"))
    with open(os.path.join(odd, b"closed", b"file"), "wb") as file:
        file.write(b"x" * 100_000)
    os.chmod(os.path.join(odd, b"closed", b"file"), 0o440)
    os.chmod(os.path.join(odd, b"closed"), 0o555)
    os.utime(os.path.join(odd, b"closed"), (1_600_000_000, 1_600_000_000))


def rename_and_touch(root: Path) -> None:
    """Rename a folder, copy files in it, and change the modes of files, after a backup."""
    odd = (root / "by hand").rename(root / "moved by hand")
    for name in ("-rf", "100%25 %41"):
        shutil.copyfile(odd / name, odd / f"{name}, copied")
    (odd / "closed" / "file").chmod(0o600)
    if os.geteuid() == 0:
        # Their owner may have set these bits; root, who owned the contents in the pack, has not.
        for path in (odd / "-rf, copied", odd / "closed" / "file", odd / "100%25 %41"):
            os.chown(path, 4321, 4321)
            path.chmod(0o4755)
    page = min(path for path in root.rglob("*.html") if path.is_file())
    page.chmod(0o604)
    os.utime(page, (1_600_000_000, 1_600_000_000))


def tree(root: Path) -> dict[bytes, tuple[object, ...]]:
    """Return the kind, mode, owner, time in seconds, and contents or target of each entry."""
    found: dict[bytes, tuple[object, ...]] = {}
    links: dict[int, bytes] = {}
    top = os.fsencode(root)
    for folder, folders, names in os.walk(top):
        folders.sort()
        for name in sorted([*names, *(name for name in folders), b"."]):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            key = os.path.relpath(path, top)
            what: object = None
            if stat.S_ISREG(status.st_mode):
                first = links.setdefault(status.st_ino, key)
                what = (first, hashlib.sha256(Path(os.fsdecode(path)).read_bytes()).hexdigest())
            elif stat.S_ISLNK(status.st_mode):
                what = os.readlink(path)
            found[key] = (status.st_mode, status.st_uid, status.st_gid, int(status.st_mtime), what)
    return found


def rows(project: Project, database: str) -> dict[str, tuple[object, ...]]:
    """Return for each table the number of rows and a digest of all of them."""
    count = "SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {} t"
    names = [name for (name,) in project.sql(ROWS, database=database)]
    return {name: project.sql(count.format(name), database=database)[0] for name in names}


def script(values: dict[str, str]) -> str:
    """Return the blocks of the page as one script, with the values that a reader would fill in."""
    text = "\n".join(blocks(page("how-to/recovery-by-hand"), "sh"))
    for name, value in values.items():
        text, found = re.subn(rf"^{name}=.*$", f"{name}='{value}'", text, flags=re.MULTILINE)
        assert found == 1, f"The page sets {name} {found} times."
    return text


def run(project: Project, text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the script with ``-e``, because the page says to stop at the first error."""
    server = project.server
    passfile = folder / "pgpass"
    passfile.touch(mode=0o600)
    passfile.write_text(f"*:*:*:*:{server.password}\n")
    return subprocess.run(
        ["bash", "-e"],
        input=text,
        capture_output=True,
        encoding="utf-8",
        env={
            "PATH": f"{server.bin_dir}:{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "HOME": str(folder),
            "PGHOST": server.host,
            "PGPORT": str(server.port),
            "PGUSER": server.role,
            "PGPASSFILE": str(passfile),
        },
        timeout=300,
    )


@pytest.mark.postgres(15, 18)
def test_recovery_page_commands_restore_a_backup(project: Project, tmp_path: Path) -> None:
    tools(project)
    project.seed_small()
    make_odd(project.sites)
    project.run("backup_sites", check=True)
    rename_and_touch(project.sites)
    project.run("backup_all", check=True)
    before_rows, before_tree = rows(project, project.database), tree(project.sites)
    *_, backup_id = sorted(folder.name for folder in (project.storage / "igny8/backups").iterdir())
    recovered = f"{project.database}_recovered"
    target = tmp_path / "recovered"
    work = tmp_path / "work"
    values = {
        "STORAGE": str(project.storage / "igny8"),
        "IDENTITY": str(project.identity),
        "WORK": str(work),
        "ID": backup_id,
        "ALIAS": "default",
        "DATABASE": recovered,
        "TREE": "sites-data",
        "TARGET": str(target),
    }
    done = run(project, script(values), tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert rows(project, recovered) == before_rows
    assert tree(target) == before_tree
    assert f"{len(before_tree)} things are as they were, 0 are not" in done.stdout
    assert not work.exists()


def test_recovery_page_commands_stop_at_an_altered_object(project: Project, tmp_path: Path) -> None:
    tools(project)
    project.seed_small()
    project.run("backup_all", check=True)
    (backup_id,) = [folder.name for folder in (project.storage / "igny8/backups").iterdir()]
    dump = project.storage / f"igny8/backups/{backup_id}/db/default.dump.zst.age"
    data = bytearray(dump.read_bytes())
    data[len(data) // 2] ^= 1
    dump.write_bytes(data)
    recovered = f"{project.database}_recovered"
    values = {
        "STORAGE": str(project.storage / "igny8"),
        "IDENTITY": str(project.identity),
        "WORK": str(tmp_path / "work"),
        "ID": backup_id,
        "DATABASE": recovered,
        "TARGET": str(tmp_path / "recovered"),
    }
    done = run(project, script(values), tmp_path)
    assert done.returncode != 0
    assert f"backups/{backup_id}/db/default.dump.zst.age: FAILED" in done.stdout
    assert recovered not in project.databases()


def program(name: str, *arguments: Path, index: bytes) -> subprocess.CompletedProcess[bytes]:
    """Run a Python program that the page writes to a file, with an index as its input."""
    text = "\n".join(blocks(page("how-to/recovery-by-hand"), "sh"))
    found = re.search(rf"{re.escape(name)}\" <<'EOF'\n(.*?)^EOF$", text, re.MULTILINE | re.DOTALL)
    assert found
    return subprocess.run(
        [sys.executable, "-c", found[1], *arguments], input=index, capture_output=True, timeout=60
    )


def index_of(*records: dict[str, Any]) -> bytes:
    lines = [{"format": "igny8_backup index", "version": 2}, *records, {"records": len(records)}]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def file_record(path: str, **other: Any) -> dict[str, Any]:
    fields = {"path": path, "kind": "file", "mode": "0644", "uid": 0, "gid": 0, "mtime_ns": 0, "pack": "1"}
    return {**fields, **other}


@pytest.mark.parametrize(
    "records",
    [
        [file_record("../x")],
        [file_record("/x")],
        [file_record("a/%2E%2E/../x", member="b")],
        [file_record("a", member="/etc/shadow")],
        [file_record("a", member="%2E./x")],
        [file_record("a", member="b%00")],
        [file_record("a", pack="../../x")],
        [file_record("a", pack="")],
        [file_record("a/b", pack="2"), file_record("a")],
    ],
)
def test_recovery_page_forged_index_is_refused(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    done = program("wanted.py", tmp_path / "in" / "wanted", index=index_of(file_record("0"), *records))
    assert done.returncode == 1
    assert b"The index is forged" in done.stderr
    assert [*tmp_path.rglob("*")] == [tmp_path / "in", tmp_path / "in" / "wanted"]


def test_recovery_page_symlink_in_a_pack_is_not_followed(tmp_path: Path) -> None:
    """Neither as the contents of a renamed file nor as a folder of it."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    before = secret.stat().st_mode
    for place in ("renamed/1", "target"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "old").symlink_to(secret)
        index = index_of(file_record("new", member="old", mode="0666"))
        done = program("places.py", tmp_path / "renamed", tmp_path / "target", index=index)
        assert b"neither a file nor a folder" in done.stderr
        assert not (tmp_path / "target" / "new").exists()
        assert secret.stat().st_mode == before
        (tmp_path / place / "old").unlink()
