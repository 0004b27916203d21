"""The programs that back up a tree of files: this package and its peers, with one interface."""

from __future__ import annotations

import importlib.util
import shutil
from abc import ABC, abstractmethod
from pathlib import Path

from benchmarks.measure import Argv, Pipeline, RunFailed, run
from benchmarks.project import Project
from benchmarks.sites_checks import FilesCheck

PASSWORD = "of no use elsewhere"


class Peer(ABC):
    """A program that stores backups of the tree ``root`` below ``stored``.

    ``restoring`` is the title of its restore, or empty if that is not measured. ``slow``: a first backup or a
    restore takes a minute. ``incremental``: later backups store only changes. ``django``: the time includes
    the start of Django. ``after_restore``: the management command that removes the previous files after a
    restore.
    """

    key: str
    title: str
    restoring = ""
    note = ""
    needs: str
    slow = False
    incremental = False
    django = False
    after_restore: tuple[str, ...] = ()

    def __init__(self, project: Project, root: Path, files: FilesCheck) -> None:
        self.project = project
        self.root = root
        self.files = files
        self.env = project.environment
        self.stored = project.folder / self.key
        self.output: Path | None = None

    def is_installed(self) -> bool:
        return shutil.which(self.needs) is not None

    @property
    def is_kept(self) -> bool:
        """Whether later contests need the first backup."""
        return self.incremental or bool(self.restoring)

    @abstractmethod
    def fresh(self) -> None:
        """Delete all backups."""

    @abstractmethod
    def backup(self) -> Pipeline:
        """Return the pipelines of a backup."""

    @abstractmethod
    def check(self) -> None:
        """Decode the newest backup and compare it with the tree. Raises ``RunFailed``."""

    def restore(self, target: Path) -> Pipeline:
        """Return the pipelines of a restore of the newest backup into the empty folder ``target``."""
        raise NotImplementedError


class Ours(Peer):
    key = "ours"
    title = "`backup_sites`"
    restoring = "`restore_all --only files` (decrypted, digests checked, swapped in)"
    note = "encrypted, hashed"
    needs = "age"
    incremental = django = True
    after_restore = ("undo_restore", "--discard", "--noinput")

    def __init__(self, project: Project, root: Path, files: FilesCheck) -> None:
        super().__init__(project, root, files)
        self.stored = project.storage
        self._first = True

    def fresh(self) -> None:
        self.project.empty_storage()
        shutil.rmtree(self.project.state)
        self.project.state.mkdir()
        self._first = True

    def backup(self) -> Pipeline:
        return [self.project.manage("backup_sites", "sites-data")]

    def check(self) -> None:
        (tree,) = self.project.manifest()["trees"]
        if tree["full"] is not self._first:
            raise RunFailed(f"A backup read the whole tree: {tree['full']}; the first: {self._first}.")
        self._first = False
        tars = [self.project.decoded(item) for item in (*self.project.packs(tree), tree["folders"])]
        self.files.check_tars(tars, self.env, index=self.project.decoded(tree["index"]))

    def restore(self, target: Path) -> Pipeline:
        words = ("restore_all", self.project.manifest()["id"], "--only", "files", "--noinput")
        command = self.project.manage(*words, "--identity", self.project.identity)
        return [("env", f"IGNY8_SITES_DATA={target}", *command)]


class Tar(Peer):
    key = "tar"
    title = "`tar \\| zstd -3 -T0`"
    restoring = "`zstd -d \\| tar x`"
    note = "neither encrypted nor hashed"
    needs = "tar"

    def __init__(self, project: Project, root: Path, files: FilesCheck) -> None:
        super().__init__(project, root, files)
        self.stored.mkdir()
        self.output = self.stored / "sites.tar.zst"

    def fresh(self) -> None:
        shutil.rmtree(self.stored)
        self.stored.mkdir()

    def backup(self) -> Pipeline:
        return [("tar", "-C", self.root, "-cf", "-", "."), *self.encoded()]

    def check(self) -> None:
        self.files.check_tars([self.decoded()], self.env)

    def restore(self, target: Path) -> Pipeline:
        return [*self.decoded(), ("tar", "-C", target, "-xpf", "-")]

    def encoded(self) -> Pipeline:
        return [("zstd", "-3", "-T0", "-q", "-c")]

    def decoded(self) -> Pipeline:
        return [("zstd", "-dcq", self.stored / "sites.tar.zst")]


class Programs(Tar):
    """The same work as this package except for digests, by a pipeline of programs."""

    key = "programs"
    title = "`tar \\| zstd -2 --zstd=hlog=17 -T0 \\| age`"
    restoring = "`age -d \\| zstd -d \\| tar x`"
    note = "encrypted as ours, not hashed"
    needs = "age"

    def encoded(self) -> Pipeline:
        compressed = ("zstd", "-2", "--zstd=hlog=17", "-T0", "-q", "-c")
        return [compressed, ("age", "-r", self.project.recipient)]

    def decoded(self) -> Pipeline:
        return [("age", "-d", "-i", self.project.identity, self.stored / "sites.tar.zst"), ("zstd", "-dcq")]


class Restic(Peer):
    """restic, with its own password and cache."""

    key = needs = "restic"
    title = "restic"
    restoring = "restic restore"
    note = "encrypted"
    incremental = True

    def __init__(self, project: Project, root: Path, files: FilesCheck) -> None:
        super().__init__(project, root, files)
        self._cache = project.folder / "restic-cache"
        self.env = project.environment | {"RESTIC_PASSWORD": PASSWORD}

    def fresh(self) -> None:
        shutil.rmtree(self.stored, ignore_errors=True)
        shutil.rmtree(self._cache, ignore_errors=True)
        run(self._argv("init"), env=self.env, cwd=self.project.folder)

    def backup(self) -> Pipeline:
        return [("env", "-C", self.root, *self._argv("backup", "--quiet", "."))]

    def check(self) -> None:
        dump = self._argv("dump", "--archive", "tar", "latest", "/")
        self.files.check_tars([[dump]], self.env, strip="/")

    def restore(self, target: Path) -> Pipeline:
        return [self._argv("restore", "--quiet", "latest", "--target", target)]

    def _argv(self, *words: str | Path) -> Argv:
        return ("restic", "--repo", self.stored, "--cache-dir", self._cache, *words)


class Borg(Peer):
    """borg, with its own password and cache."""

    key = needs = "borg"
    title = "borg"
    restoring = "borg extract"
    note = "encrypted, zstd 3"
    incremental = slow = True

    def __init__(self, project: Project, root: Path, files: FilesCheck) -> None:
        super().__init__(project, root, files)
        self._base = project.folder / "borg-base"
        self._archives = 0
        self.env = project.environment | {"BORG_PASSPHRASE": PASSWORD, "BORG_BASE_DIR": str(self._base)}

    def fresh(self) -> None:
        shutil.rmtree(self.stored, ignore_errors=True)
        shutil.rmtree(self._base, ignore_errors=True)
        init: Argv = ("borg", "init", "--encryption=repokey", self.stored)
        run(init, env=self.env, cwd=self.project.folder)

    def backup(self) -> Pipeline:
        self._archives += 1
        return [("env", "-C", self.root, "borg", "create", "--compression", "zstd,3", self._archive(), ".")]

    def check(self) -> None:
        self.files.check_tars([[("borg", "export-tar", self._archive(), "-")]], self.env)

    def restore(self, target: Path) -> Pipeline:
        return [("env", "-C", target, "borg", "extract", self._archive())]

    def _archive(self) -> str:
        return f"{self.stored}::{self._archives}"


class MediaBackup(Peer):
    """django-dbbackup in a separate project. It backs up one tree, MEDIA_ROOT."""

    key = "mediabackup"
    title = "django-dbbackup `mediabackup --compress`"
    note = "not encrypted"
    needs = "dbbackup"
    slow = django = True

    def __init__(self, project: Project, root: Path, files: FilesCheck) -> None:
        super().__init__(project, root, files)
        self.stored = project.storage
        self.env = project.environment | {"IGNY8_UPLOADS": str(root)}

    def is_installed(self) -> bool:
        return importlib.util.find_spec(self.needs) is not None

    def fresh(self) -> None:
        self.project.empty_storage()

    def backup(self) -> Pipeline:
        return [self.project.manage("mediabackup", "--compress")]

    def check(self) -> None:
        (file,) = [path for path in self.stored.iterdir() if path.suffix == ".gz"]
        self.files.check_tars([[("zcat", file)]], self.env)
