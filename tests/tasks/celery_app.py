"""Start workers, beat and a client of Celery as a project does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from celery import Celery

from tests.services.project import Project

REPOSITORY = Path(__file__).resolve().parents[2]
SECONDS = 120
# Redis delivers a task again that was not acknowledged for a second. A worker that is killed while it looks
# for such tasks leaves a lock behind; until that expires, by default after five minutes, no other one looks.
REDELIVER_SOON = """
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 1,
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
    "unacked_mutex_expire": 2,
}
"""
DATABASE_SCHEDULER = ("-S", "django_celery_beat.schedulers:DatabaseScheduler", "--max-interval=1")


class Program:
    """``celery -A project ...`` with the settings and in the environment of a project, as a context manager.

    Its output goes to a file, whose text is ``output``. It is stopped by SIGTERM, as a container is.
    """

    def __init__(
        self,
        project: Project,
        name: str,
        *argv: str,
        ready: str,
        env: Mapping[str, str] | None = None,
        stop: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.log = project.folder / f"{name}.log"
        paths = [project.environment.get("PYTHONPATH", ""), str(REPOSITORY / "testproject"), str(REPOSITORY)]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "project", *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=project.folder,
                env={
                    **project.environment,
                    "PYTHONPATH": os.pathsep.join(filter(None, paths)),
                    **(env or {}),
                },
                start_new_session=True,
            )
        self._ready = ready
        self._stop = stop

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, words: str, times: int = 1) -> None:
        """Wait until the output has the ``words`` so often; fail if the program ends or after a while."""
        self.wait_until(lambda: self.output.count(words) >= times)

    def wait_until(self, found: Callable[[], object]) -> None:
        """Wait for a condition. Fails if the program ends or it takes too long."""
        deadline = time.monotonic() + SECONDS
        while not found():
            assert self.process.poll() is None and time.monotonic() < deadline, self.output
            time.sleep(0.05)

    def __enter__(self) -> Self:
        self.wait_for(self._ready)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.send_signal(self._stop)
        try:
            self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


def worker(project: Project, name: str, *argv: str, env: Mapping[str, str] | None = None) -> Program:
    """Start a worker of this name with one process or thread."""
    quiet = ("--without-gossip", "--without-mingle", "--loglevel=INFO", f"--hostname={name}@test")
    return Program(project, name, "worker", "--concurrency=1", *quiet, *argv, ready=" ready.", env=env)


def beat(project: Project, *argv: str) -> Program:
    """Start beat, which keeps its schedule in a file unless ``argv`` says otherwise."""
    argv = argv or ("-s", str(project.folder / "beat-schedule"))
    # SIGTERM raises an exception, which now and then ends in code of the scheduler that survives errors.
    ready, stop = "beat: Starting...", signal.SIGKILL
    return Program(project, "beat", "beat", "--loglevel=INFO", *argv, ready=ready, stop=stop)


@contextmanager
def client(url: str) -> Iterator[Celery]:
    """An application that only sends tasks and reads results; closes all its connections at the end."""
    app = Celery("client", broker=url, backend=url, set_as_current=False)
    app.conf.broker_connection_retry_on_startup = False
    try:
        yield app
    finally:
        backend: Any = app.backend
        backend.result_consumer.stop()
        backend.client.close()
        app.close()
