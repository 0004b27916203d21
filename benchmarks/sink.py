"""``python -m benchmarks.sink``: a first backup of a tree to S3 beside one to a folder.

The S3 server discards what it receives, so that the client is the limit. What it could receive at most is
measured with a client that only sends. One backup, not measured, is kept by the server, decoded and compared.
"""

from __future__ import annotations

import http.client
import json
import multiprocessing
import shutil
import time
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

from benchmarks import options as common
from benchmarks import report, sites_data
from benchmarks.contest import START, Contestant, Results, Target, hold
from benchmarks.machine import facts
from benchmarks.measure import RunFailed, run, say
from benchmarks.project import DJANGO_START, Project, bytes_in
from benchmarks.server import KeptServer
from benchmarks.sink_server import BUCKET, SinkS3
from benchmarks.sites_changes import put_back
from benchmarks.sites_checks import FilesCheck
from benchmarks.sites_peers import Ours

TARGETS = (Target(ours="s3", against="folder", what="wall", limit=1.5),)
SENDERS, BODY = 2, 8 << 20
"""The raw client: its processes, and the bytes of each of its requests, as many as a part of a backup has."""


def environment(sink: SinkS3) -> dict[str, str]:
    """Return the settings that make commands use the sink."""
    return {
        "IGNY8_BACKUP_S3_BUCKET": BUCKET,
        "IGNY8_BACKUP_S3_ENDPOINT": sink.endpoint,
        "IGNY8_BACKUP_S3_REGION": "us-east-1",
        "IGNY8_BACKUP_S3_ACCESS_KEY": "anybody",
        "IGNY8_BACKUP_S3_SECRET_KEY": "of no use elsewhere",
    }


def throughput(sink: SinkS3, requests: int) -> float:
    """Return the bytes per second that the sink takes from clients that do nothing but send."""
    sink.empty()
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(SENDERS, mp_context=spawn) as pool:
        found = list(pool.map(_send, [sink.server_port] * SENDERS, [requests] * SENDERS))
    if sink.received != SENDERS * requests * BODY:
        raise RunFailed(f"The sink has received {sink.received} bytes.")
    return SENDERS * requests * BODY / (max(end for _, end in found) - min(begin for begin, _ in found))


def _send(port: int, requests: int) -> tuple[float, float]:
    body = bytes(BODY)
    connection = http.client.HTTPConnection("127.0.0.1", port)
    begin = time.time()
    for number in range(requests):
        connection.request("PUT", f"/{BUCKET}/raw/{number}", body)
        connection.getresponse().read()
    connection.close()
    return begin, time.time()


class Contest:
    """The first backup of one tree, to a folder and to the sink."""

    def __init__(self, peer: Ours, sink: SinkS3) -> None:
        self.peer = peer
        self.sink = sink
        self.to_sink = {**peer.env, **environment(sink)}

    def check_contents(self) -> None:
        """Back up to the sink once, with all objects kept; decode and compare them. Raises ``RunFailed``."""
        self.peer.fresh()
        self.sink.empty(self.peer.project.storage)
        for command in self.peer.backup():
            run(command, env=self.to_sink, cwd=self.peer.project.folder)
        self.peer.check()
        check_sizes(self.sink)

    def contestants(self) -> list[Contestant]:
        make = partial(Contestant, cwd=self.peer.project.folder, django=True)
        return [
            make(key=START, title="Django's own start", commands=lambda: [DJANGO_START], env=self.peer.env),
            make(
                key="folder",
                title=f"{self.peer.title} to a folder",
                commands=self.peer.backup,
                env=self.peer.env,
                prepare=self.peer.fresh,
                check=self._check_folder,
            ),
            make(
                key="s3",
                title=f"{self.peer.title} to S3",
                commands=self.peer.backup,
                env=self.to_sink,
                prepare=self._fresh_sink,
                check=partial(check_sizes, self.sink),
            ),
        ]

    def _fresh_sink(self) -> None:
        self.peer.fresh()
        self.sink.empty()

    def _check_folder(self) -> int:
        self.peer.check()
        return bytes_in(self.peer.stored)


def check_sizes(sink: SinkS3) -> int:
    """Compare the sizes of what the sink has received with the newest manifest; return their sum.

    The packs are those that the lists of packs describe. Raises ``RunFailed``.
    """
    newest = max(key for key in sink.objects if key.endswith("/manifest.json"))
    wanted = dict(_named(json.loads(sink.objects[newest].data or b"")))
    for key in [key for key in wanted if key.startswith("packs/") and key.endswith(".json")]:
        if found := sink.objects.get(f"igny8/{key}"):
            wanted |= dict(_named(json.loads(found.data or b"")))
    if not any(key.startswith("packs/") for key in wanted):
        raise RunFailed("The manifest names no pack.")
    for key, size in wanted.items():
        found = sink.objects.get(f"igny8/{key}")
        if found is None or found.size != size:
            raise RunFailed(f"The sink has not received {size} bytes for {key}: {found}.")
    return sum(item.size for item in sink.objects.values())


def _named(found: Any) -> Iterator[tuple[str, int]]:
    """Yield the key and size of each stored object that a manifest names."""
    if isinstance(found, dict):
        if "stored_bytes" in found:
            yield str(found["key"]), int(found["stored_bytes"])
        for value in found.values():
            yield from _named(value)
    elif isinstance(found, list):
        for value in found:
            yield from _named(value)


def measured(options: Namespace) -> tuple[Results, float]:
    """Return the results, and what the sink takes from a raw client in bytes per second."""
    with common.work_folder(options) as work:
        root, listing = sites_data.make(work, common.scale(options))
        files = FilesCheck(listing)
        put_back(root, files.wanted)
        with KeptServer(options.postgresql, work) as server, SinkS3() as sink:
            rate = throughput(sink, 8 if options.quick else 128)
            say(f"the sink alone: {rate / 1e6:,.0f} MB/s")
            url = server.database("benchmark_empty", None)
            project = Project(work / "sink", database_url=url, bin_dir=server.bin_dir, sites=root)
            try:
                contest = Contest(Ours(project, root, files), sink)
                contest.check_contents()
                title = "First backup of a tree of files to S3"
                return hold(title, contest.contestants(), options.runs), rate
            finally:
                shutil.rmtree(project.folder, ignore_errors=True)


def main() -> None:
    options = common.parser(__doc__).parse_args()
    common.require_programs("age", "zstd", "tar")
    machine = facts()
    results, rate = measured(options)
    used = results.runs["s3"][-1]
    alone = (
        f"The server alone takes {rate / 1e6:,.0f} MB/s from a client that only sends; the last backup sent"
        f" {(used.stored or 0) / 1e6 / used.measured.wall:,.0f} MB/s."
    )
    text = f"{report.markdown(results, TARGETS)}\n{alone}\n\n"
    text += report.closing_lines(machine, common.scale(options), options.runs)
    contests = [(results, TARGETS)]
    data = report.as_json(machine, contests, scale=common.scale(options), server_bytes_per_second=rate)
    report.write(common.out_folder(options), "sink", text, data, update_readme=options.update_readme)


if __name__ == "__main__":
    main()
