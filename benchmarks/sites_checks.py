"""Check the digests of all files in archives and folders, without code of this package."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from benchmarks.measure import Argv, RunFailed


class FilesCheck:
    """Has the expected digest of each file in ``wanted``; initially those of ``listing``."""

    def __init__(self, listing: Path) -> None:
        lines = listing.read_text().splitlines()
        self.wanted = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}

    def check_folder(self, folder: Path) -> None:
        """Raise ``RunFailed`` unless ``folder`` contains exactly these files."""
        found = {}
        for path in folder.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    found[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
        self._compare(found)

    def check_tars(
        self,
        pipelines: Sequence[Sequence[Argv]],
        env: Mapping[str, str],
        strip: str = "./",
        index: Sequence[Argv] | None = None,
    ) -> None:
        """Check that the tars, one from each pipeline, together contain exactly these files.

        ``strip`` is removed from the start of the names. If a name occurs in several tars, the last one
        counts. ``index`` is the index of this package: it must name exactly these files, and then the tars
        may contain other, deleted files.
        """
        found: dict[str, str] = {}
        for pipeline in pipelines:
            _read_tar(pipeline, env, strip, found)
        if index is not None:
            named = _read_index(index, env)
            self._compare(named)
            found = {name: digest for name, digest in found.items() if name in named}
        self._compare(found)

    def _compare(self, found: dict[str, str]) -> None:
        if found != self.wanted:
            differing = [name for name, _ in (found.items() ^ self.wanted.items())]
            raise RunFailed(f"{len(set(differing))} files differ: {sorted(differing)[:3]}")


def _read_tar(pipeline: Sequence[Argv], env: Mapping[str, str], strip: str, found: dict[str, str]) -> None:
    with (
        _output(pipeline, env) as stream,
        tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 20) as archive,
    ):
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            if content is not None:
                name = member.name.removeprefix(strip)
                found[name] = hashlib.sha256(content.read()).hexdigest()


def _read_index(pipeline: Sequence[Argv], env: Mapping[str, str]) -> dict[str, str]:
    with _output(pipeline, env) as stream:
        records = [json.loads(line) for line in stream]
    return {record["path"]: record["sha256"] for record in records if record.get("kind") == "file"}


@contextmanager
def _output(pipeline: Sequence[Argv], env: Mapping[str, str]) -> Iterator[IO[bytes]]:
    """Open the output of a pipeline; every program must succeed."""
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
    with stream:
        yield stream
        while stream.read(1 << 20):
            pass  # to the end, where the decoders find whether all was well
    for process in processes:
        if process.wait():
            raise RunFailed(f"{process.args!r} ended with {process.returncode}.")
