"""The programs that ``benchmarks.cases`` compares: how each extracts files and verifies a backup."""

from __future__ import annotations

import shutil
from abc import abstractmethod
from pathlib import Path

from benchmarks.measure import Pipeline, RunFailed
from benchmarks.project import Project
from benchmarks.sites_checks import FilesCheck
from benchmarks.sites_peers import Borg, Ours, Peer, Programs, Restic


class CasePeer(Peer):
    """A peer of which the newest backup can be extracted. ``verifying`` is the title of its verification."""

    verifying = ""

    @abstractmethod
    def extract(self, target: Path, name: str = "") -> Pipeline:
        """Return the pipelines that extract everything, or one file, into the empty folder ``target``."""

    def extracted(self, target: Path) -> Path:
        """Return the folder in which ``extract`` puts the tree."""
        return target

    def verify(self) -> Pipeline:
        """Return the pipelines that read all contents of the newest backup and look for damage."""
        raise NotImplementedError

    def note_backup(self) -> None:
        """Look at the backup that was just made. Raises ``RunFailed`` if it is not of the expected kind."""


class OursCase(Ours, CasePeer):
    note = "`CHUNKED_TREES`"
    verifying = "`verify_backup --depth content`"

    def __init__(self, project: Project, root: Path, files: FilesCheck) -> None:
        super().__init__(project, root, files)
        project.environment["DJANGO_SETTINGS_MODULE"] = "benchmarks.chunk_settings"

    def extract(self, target: Path, name: str = "") -> Pipeline:
        words: list[str | Path] = ["extract_backup", self._id(), "--only", "sites-data"]
        words += ["--identity", self.project.identity, "--to-dir", self.extracted(target).parent]
        words += ["--path", name] if name else []
        return [self.project.manage(*words)]

    def extracted(self, target: Path) -> Path:
        return target / "extracted" / "sites-data"

    def verify(self) -> Pipeline:
        words = ("verify_backup", self._id(), "--depth", "content", "--identity", self.project.identity)
        return [self.project.manage(*words)]

    def note_backup(self) -> None:
        (tree,) = self.project.manifest()["trees"]
        if tree["full"] is not self._first:
            raise RunFailed(f"A backup read the whole tree: {tree['full']}; the first: {self._first}.")
        self._first = False

    def _id(self) -> str:
        return str(self.project.manifest()["id"])


class ResticCase(Restic, CasePeer):
    verifying = "`restic check --read-data`"

    def extract(self, target: Path, name: str = "") -> Pipeline:
        chosen = ("--include", f"/{name}") if name else ()
        return [self._argv("restore", "--quiet", "latest", "--target", target, *chosen)]

    def verify(self) -> Pipeline:
        return [self._argv("check", "--quiet", "--read-data")]


class BorgCase(Borg, CasePeer):
    verifying = "`borg check --verify-data`"
    slow = False

    def extract(self, target: Path, name: str = "") -> Pipeline:
        chosen = (name,) if name else ()
        return [("env", "-C", target, "borg", "extract", self._archive(), *chosen)]

    def verify(self) -> Pipeline:
        return [("borg", "check", "--verify-data", self.stored)]


class TarCase(Programs, CasePeer):
    """A whole tar each time: what a backup costs that knows nothing of the last one."""

    verifying = "`age -d \\| zstd -d \\| tar t` (compares nothing)"

    def extract(self, target: Path, name: str = "") -> Pipeline:
        chosen = (f"./{name}",) if name else ()
        return [*self.decoded(), ("tar", "-C", target, "-xpf", "-", *chosen)]

    def verify(self) -> Pipeline:
        return [*self.decoded(), ("tar", "-tf", "-")]


class RsyncCase(CasePeer):
    """A plain copy, which only the next run changes."""

    key = needs = "rsync"
    title = "`rsync -aH --delete`"
    note = "neither encrypted, compressed nor hashed; no history"

    def __init__(self, project: Project, root: Path, files: FilesCheck) -> None:
        super().__init__(project, root, files)
        self.stored.mkdir()

    def fresh(self) -> None:
        shutil.rmtree(self.stored)
        self.stored.mkdir()

    def backup(self) -> Pipeline:
        return [("rsync", "-aH", "--delete", f"{self.root}/", f"{self.stored}/")]

    def check(self) -> None:
        self.files.check_folder(self.stored)

    def extract(self, target: Path, name: str = "") -> Pipeline:
        if name:
            return [("rsync", "-aR", f"{self.stored}/./{name}", f"{target}/")]
        return [("rsync", "-aH", f"{self.stored}/", f"{target}/")]


KINDS: tuple[type[CasePeer], ...] = (OursCase, TarCase, RsyncCase, ResticCase, BorgCase)
