"""The folder of the demo, which is locked during a run and cleaned of earlier leftovers."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from types import TracebackType

from demo.account import private_folder
from demo.server import stop_forgotten

MARKER = "igny8-backup-demo"
NOTE = "This folder belongs to `manage.py demo`, which empties it whenever it begins.\n"


class WorkplaceError(Exception):
    """The folder cannot be used. The message has the reason."""


class Workplace:
    """The folders of one demo, as a context manager.

    Nothing is ever removed from a folder that does not carry the marker file. The marker is the lock as well:
    the operating system frees it when its holder dies, however it dies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.storage = folder / "storage"
        self.sites = folder / "sites-data"
        self.uploads = folder / "uploads"
        self.state = folder / "state"
        self.scratch = folder / "scratch"
        self.key = folder / "igny8-backup.key"
        self.signing_key = folder / "igny8-backup-signing.key"
        self._elsewhere = folder / "server-folder"  # holds the path of the server's folder, when not in here
        self._lock = -1

    def __enter__(self) -> Workplace:
        marker = self.folder / MARKER
        if self.folder.exists() and not marker.is_file() and any(self.folder.iterdir()):
            raise WorkplaceError(f"{self.folder} is not the demo's: it has no file {MARKER}. Move it away.")
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self._lock = os.open(marker, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._unlock()
            raise WorkplaceError(f"Another demo is running in {self.folder}. Wait for its end.") from None
        try:
            os.pwrite(self._lock, NOTE.encode(), 0)
            self._empty()
            for path in (self.storage, self.sites, self.uploads, self.state, self.scratch):
                path.mkdir(mode=0o700, parents=True)
        except BaseException:
            self._unlock()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove_server()
        self._unlock()

    def server(self) -> Path:
        """Create and return the folder of the server: in here, or for root where its account can enter."""
        if os.geteuid() != 0:
            base = self.folder / "server"
            base.mkdir(mode=0o700, parents=True)
            return base
        base = private_folder("igny8-demo-")
        (base / MARKER).write_text(NOTE)
        self._elsewhere.write_text(str(base))
        return base

    def remove_server(self) -> None:
        """Stop a server that was left running and remove its folder."""
        base = self.folder / "server"
        if self._elsewhere.is_file():
            base = Path(self._elsewhere.read_text())
            if base.is_symlink() or not (base / MARKER).is_file():
                base = self.folder / "server"
        if base.is_dir():
            stop_forgotten(base)
            shutil.rmtree(base)
        self._elsewhere.unlink(missing_ok=True)

    def _empty(self) -> None:
        self.remove_server()
        for path in self.folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != MARKER:
                path.unlink()

    def _unlock(self) -> None:
        os.close(self._lock)
        self._lock = -1
