"""``python -m benchmarks.sites``: backups and restores of a tree of files, ours and the peers' in turn."""

from __future__ import annotations

import shutil
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import options as common
from benchmarks import report, sites_data
from benchmarks.contest import START, Contestant, Results, Target, hold
from benchmarks.machine import facts, versions_of
from benchmarks.measure import Argv, Pipeline, run
from benchmarks.project import DJANGO_START, Project, bytes_in
from benchmarks.repositories import Borg, Restic
from benchmarks.server import KeptServer
from benchmarks.sites_checks import FilesCheck

BACKUP_TARGETS = (
    Target(ours="ours", against="tar", what="wall", limit=1.4),
    Target(ours="ours", against="restic", what="wall", limit=0.45),
    Target(ours="ours", against="restic", what="stored", limit=0.92),
)
RESTORE_TARGETS = (Target(ours="ours", against="restic", what="wall", limit=0.55),)


class Peers:
    """Who is measured, and how its output is compared."""

    def __init__(self, project: Project, root: Path, listing: Path, options: Namespace) -> None:
        self.project = project
        self.root = root
        self.files = FilesCheck(listing)
        self.options = options
        self.target = project.folder / "restored"
        self.restic = Restic(project, root)

    def contestant(
        self,
        key: str,
        title: str,
        commands: Callable[[], Pipeline],
        check: Callable[[], int | None],
        *,
        env: dict[str, str] | None = None,
        prepare: Callable[[], None] = lambda: None,
        output: Path | None = None,
        note: str = "",
        runs: int | None = None,
    ) -> Contestant:
        return Contestant(
            key=key,
            title=title,
            commands=commands,
            env=env or self.project.environment,
            cwd=self.project.folder,
            output=output,
            prepare=prepare,
            check=check,
            note=note,
            runs=runs,
            django=key in (START, "ours", "mediabackup"),
        )

    def start(self) -> Contestant:
        return self.contestant(START, "Django's own start", lambda: [DJANGO_START], lambda: None)

    def backups(self) -> list[Contestant]:
        file = self.project.folder / "sites.tar.zst"
        tar: Pipeline = [("tar", "-C", self.root, "-cf", "-", "."), ("zstd", "-3", "-T0", "-q", "-c")]
        found = [
            self.start(),
            self.contestant(
                "ours",
                "`backup_sites`, whole",
                lambda: [self.project.manage("backup_sites", "sites-data")],
                self.check_ours,
                prepare=self.fresh,
                note="encrypted, hashed",
            ),
            self.contestant(
                "tar",
                "`tar \\| zstd -3 -T0`",
                lambda: tar,
                partial(self.check_tar, file, ("zstd", "-dcq", file)),
                output=file,
            ),
        ]
        if shutil.which("restic"):
            found.append(
                self.contestant(
                    "restic",
                    "restic, first backup",
                    lambda: [self.restic.argv("backup", "--quiet", ".", at=self.root)],
                    self.check_restic,
                    env=self.restic.env,
                    prepare=self.restic.fresh,
                )
            )
        if self.options.borg and shutil.which("borg"):
            borg = Borg(self.project, self.root)
            found.append(
                self.contestant(
                    "borg",
                    "borg, first backup, zstd 3",
                    borg.backup,
                    partial(self.check_borg, borg),
                    env=borg.env,
                    prepare=borg.fresh,
                    runs=self.options.slow_runs,
                )
            )
        if self.options.mediabackup:
            found.append(self.mediabackup())
        return found

    def mediabackup(self) -> Contestant:
        """django-dbbackup knows one tree, MEDIA_ROOT."""
        env = self.project.environment | {"IGNY8_UPLOADS": str(self.root)}
        return self.contestant(
            "mediabackup",
            "django-dbbackup `mediabackup --compress`",
            lambda: [self.project.manage("mediabackup", "--compress")],
            self.check_mediabackup,
            env=env,
            prepare=self.fresh,
            runs=self.options.slow_runs,
        )

    def fresh(self) -> None:
        self.project.empty_storage()
        shutil.rmtree(self.project.state)
        self.project.state.mkdir()

    def check_ours(self) -> int:
        (tree,) = self.project.manifest()["trees"]
        tars = [*tree["packs"], tree["folders"]]
        self.files.check_tars([self.project.decoded(item) for item in tars], self.project.environment)
        return bytes_in(self.project.storage)

    def check_tar(self, file: Path, decoder: Argv) -> int:
        self.files.check_tars([[decoder]], self.project.environment)
        size = file.stat().st_size
        file.unlink()
        return size

    def check_restic(self) -> int:
        dump = self.restic.argv("dump", "--archive", "tar", "latest", "/")
        self.files.check_tars([[dump]], self.restic.env, strip="/")
        return bytes_in(self.restic.repository)

    def check_borg(self, borg: Borg) -> int:
        self.files.check_tars([[borg.dump]], borg.env)
        return bytes_in(borg.repository)

    def check_mediabackup(self) -> int:
        (file,) = [path for path in self.project.storage.iterdir() if path.suffix == ".gz"]
        self.files.check_tars([[("zcat", file)]], self.project.environment)
        return bytes_in(self.project.storage)

    def restores(self) -> list[Contestant]:
        self.fresh()
        self.project.run("backup_sites", "sites-data")
        ours = ("restore_all", self.project.manifest()["id"], "--only", "files", "--noinput")
        found = [
            self.start(),
            self.contestant(
                "ours",
                "`restore_all --only files`",
                lambda: [self.project.manage(*ours, "--identity", self.project.identity)],
                partial(self.check_restored, discard=True),
                env=self.project.environment | {"IGNY8_SITES_DATA": str(self.target)},
                prepare=self.target.mkdir,
                note="decrypted, digests checked, swapped in",
            ),
        ]
        if shutil.which("restic"):
            self.restic.fresh()
            backup = self.restic.argv("backup", "--quiet", ".", at=self.root)
            run(backup, env=self.restic.env, cwd=self.project.folder)
            found.append(
                self.contestant(
                    "restic",
                    "restic restore",
                    lambda: [self.restic.argv("restore", "--quiet", "latest", "--target", self.target)],
                    self.check_restored,
                    env=self.restic.env,
                    prepare=self.target.mkdir,
                )
            )
        return found

    def check_restored(self, *, discard: bool = False) -> None:
        if discard:
            self.project.run("undo_restore", "--discard", "--noinput")
        self.files.check_folder(self.target)
        shutil.rmtree(self.target)


def measured(options: Namespace) -> tuple[Results, Results, int]:
    with common.work_folder(options) as work:
        root, listing = sites_data.make(work, common.scale(options))
        with KeptServer(options.postgresql, work) as server:
            url = server.database("benchmark_empty", None)
            project = Project(work / "ours", database_url=url, bin_dir=server.bin_dir, sites=root)
            peers = Peers(project, root, listing, options)
            try:
                backups = hold("Backup of a tree of files", peers.backups(), options.runs)
                restores = hold("Restore of a tree of files", peers.restores(), options.runs)
            finally:
                shutil.rmtree(project.folder, ignore_errors=True)
        if not shutil.which("restic"):
            backups.absent["restic"] = restores.absent["restic"] = "not installed"
        if not options.borg or not shutil.which("borg"):
            backups.absent["borg"] = "not asked for: --borg" if shutil.which("borg") else "not installed"
        if not options.mediabackup:
            backups.absent["django-dbbackup mediabackup"] = "not asked for: --mediabackup"
        return backups, restores, server.major


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--borg", action="store_true", help="Measure borg too.")
    parser.add_argument("--mediabackup", action="store_true", help="Measure mediabackup too: minutes.")
    options = parser.parse_args()
    for program in ("age", "zstd", "tar"):
        if not shutil.which(program):
            raise SystemExit(f"{program} is needed: outputs are decoded with it and compared.")
    machine = facts()
    backups, restores, _ = measured(options)
    machine |= versions_of(("age", "zstd", "tar", "restic", "borg"))
    contests = [(backups, BACKUP_TARGETS), (restores, RESTORE_TARGETS)]
    text = "\n".join(report.markdown(results, targets) for results, targets in contests)
    text += "\n" + report.closing_lines(machine, common.scale(options), options.runs)
    data = report.as_json(machine, contests, scale=common.scale(options))
    report.write(common.out_folder(options), "sites", text, data, update_readme=options.update_readme)


if __name__ == "__main__":
    main()
