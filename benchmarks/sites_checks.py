"""Whether archives and folders hold the files they should: each digest compared, without our code."""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.measure import Argv, RunFailed


class FilesCheck:
    """Knows the digest of each file of the tree."""

    def __init__(self, listing: Path) -> None:
        lines = listing.read_text().splitlines()
        self._wanted = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}

    def check_folder(self, folder: Path) -> None:
        """Raises ``RunFailed`` unless ``folder`` holds exactly these files."""
        found = {}
        for path in folder.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    found[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
        self._compare(found)

    def check_tars(
        self, pipelines: Sequence[Sequence[Argv]], env: Mapping[str, str], strip: str = "./"
    ) -> None:
        """Each pipeline gives a tar; together they must hold exactly these files, named from ``strip``."""
        found: dict[str, str] = {}
        for pipeline in pipelines:
            _read_tar(pipeline, env, strip, found)
        self._compare(found)

    def _compare(self, found: dict[str, str]) -> None:
        if found != self._wanted:
            differing = [name for name, _ in (found.items() ^ self._wanted.items())]
            raise RunFailed(f"{len(set(differing))} files differ: {sorted(differing)[:3]}")


def _read_tar(pipeline: Sequence[Argv], env: Mapping[str, str], strip: str, found: dict[str, str]) -> None:
    processes: list[subprocess.Popen[bytes]] = []
    for argv in pipeline:
        before = processes[-1].stdout if processes else None
        processes.append(
            subprocess.Popen(argv, stdin=before or subprocess.DEVNULL, stdout=subprocess.PIPE, env=dict(env))
        )
        if before:
            before.close()
    stream = processes[-1].stdout
    if stream is None:
        raise RunFailed("There is nothing to read.")
    with stream, tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 20) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            if content is not None:
                name = member.name.removeprefix(strip)
                found[name] = hashlib.sha256(content.read()).hexdigest()
        while stream.read(1 << 20):
            pass  # to the end, where the decoders find whether all was well
    for process in processes:
        if process.wait():
            raise RunFailed(f"{process.args!r} ended with {process.returncode}.")
