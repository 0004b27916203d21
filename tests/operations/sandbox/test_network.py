"""In the sandbox, every connection of the project's code to another address than its databases is refused."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from igny8_backup.operations.sandbox.landlock import permitted_ports
from tests.operations.sandbox.small import SmallProject, migration

# Each opens a connection to a server that the test listens on, by another way.
WAYS = {
    "HTTP by the standard library": """
        import urllib.request
        urllib.request.urlopen(f"http://127.0.0.1:{tcp}/", timeout=5)
    """,
    "HTTP by requests, with the name of a host": """
        import requests
        requests.get(f"http://localhost:{tcp}/", timeout=5)
    """,
    "a broker": """
        import kombu
        with kombu.Connection(f"amqp://guest@127.0.0.1:{tcp}//", connect_timeout=2) as broker:
            broker.connect()
    """,
    "connect_ex": """
        import socket
        with socket.socket() as opened:
            if opened.connect_ex(("127.0.0.1", tcp)):
                raise OSError
    """,
    "a thread": """
        import socket
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor() as pool:
            pool.submit(socket.create_connection, ("127.0.0.1", tcp)).result()
    """,
    "asyncio": """
        import asyncio
        asyncio.run(asyncio.wait_for(asyncio.open_connection("localhost", tcp), 5))
    """,
    "a datagram": """
        import socket
        with socket.socket(type=socket.SOCK_DGRAM) as opened:
            opened.sendto(b"a metric", ("127.0.0.1", udp))
    """,
    "a connected datagram": """
        import socket
        with socket.socket(type=socket.SOCK_DGRAM) as opened:
            opened.connect(("127.0.0.1", udp))
            opened.send(b"a metric")
    """,
    "a Unix socket": """
        import socket
        with socket.socket(socket.AF_UNIX) as opened:
            opened.connect(path)
    """,
}
CALLS = """
import os
tcp, udp, path = int(os.environ["SMALL_TCP"]), int(os.environ["SMALL_UDP"]), os.environ["SMALL_PATH"]
refused = 0
def attempt(call):
    global refused
    if "IGNY8_BACKUP_SANDBOX" in os.environ:
        try:
            call()
        except OSError:
            refused += 1
"""


class Listeners:
    """Servers to which the project must not connect: TCP, UDP and a Unix socket."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.udp = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        self.udp.bind(("127.0.0.1", 0))
        self.unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        self.path = str(folder / "server.sock")
        self.unix.bind(self.path)
        self.unix.listen()

    @property
    def port(self) -> int:
        return int(self.tcp.getsockname()[1])

    @property
    def environment(self) -> dict[str, str]:
        udp = self.udp.getsockname()[1]
        return {"SMALL_TCP": str(self.port), "SMALL_UDP": str(udp), "SMALL_PATH": self.path}

    def reached(self) -> bool:
        return bool(select.select([self.tcp, self.udp, self.unix], [], [], 0)[0])


@pytest.fixture
def listeners(small: SmallProject, tmp_path: Path) -> Iterator[Listeners]:
    with ExitStack() as stack:
        found = Listeners(stack, tmp_path)
        small.environment.update(found.environment)
        yield found


def test_connections_in_ready_and_in_a_migration_are_refused_and_tolerated(
    small: SmallProject, listeners: Listeners
) -> None:
    small.prepare()
    calls = "".join(f"def way_{number}():{body}\n" for number, body in enumerate(WAYS.values()))
    ways = f"[{', '.join(f'way_{number}' for number in range(len(WAYS)))}]"
    small.write("calls.py", f"{CALLS}{calls}ways = {ways}\n")
    call_all = f"[calls.attempt(way) for way in calls.ways]; assert calls.refused == {len(WAYS)}"
    small.add(
        "shop/apps.py",
        "    def ready(self):\n        import calls, os\n"
        "        if 'IGNY8_BACKUP_SANDBOX' in os.environ:\n"
        f"            {call_all}\n            calls.refused = 0\n",
    )
    small.write(
        "shop/migrations/0002_calls.py",
        migration(
            f"import calls\ndef work(apps, editor):\n    {call_all}\n"
            "    apps.get_model('shop', 'Order').objects.create(customer='done')\n"
        ),
    )
    planned = small.run("restore_all", "--dry-run", "--only", "db").ended(0)
    assert f"127.0.0.1:{listeners.port} (" in planned.stdout
    assert "calls.py, line" in planned.stdout
    assert "IGNY8_BACKUP['SANDBOX']['ALLOW'] = [" in planned.stdout
    small.run("drill_backup").ended(0)
    small.run(*small.restore).ended(0)
    assert not listeners.reached()
    assert small.sql("SELECT customer FROM shop_order") == [("done",)]


GET = (
    "import os, urllib.request; "
    "urllib.request.urlopen(f\"http://localhost:{os.environ['SMALL_TCP']}/\", timeout=5)"
)


@pytest.mark.parametrize("place", ["settings", "ready", "migration"])
def test_connection_that_the_project_needs_is_named_with_its_place_and_the_setting(
    small: SmallProject, listeners: Listeners, place: str
) -> None:
    small.prepare()
    if place == "settings":
        small.add("settings.py", f"if 'IGNY8_BACKUP_SANDBOX' in os.environ:\n    {GET}")
        file, commands = "settings.py", [("restore_all", "--dry-run", "--only", "db"), ("drill_backup",)]
    elif place == "ready":
        guard = "if 'IGNY8_BACKUP_SANDBOX' in __import__('os').environ:"
        small.add("shop/apps.py", f"    def ready(self):\n        {guard}\n            {GET}")
        file, commands = "shop/apps.py", [("restore_all", "--dry-run", "--only", "db"), ("drill_backup",)]
    else:
        small.write("shop/migrations/0002_get.py", migration(f"def work(apps, editor):\n    {GET}"))
        file, commands = "shop/migrations/0002_get.py", [("drill_backup",)]
    for argv in commands:
        failed = small.run(*argv).ended(1 if place == "migration" else 4)
        assert f"to localhost:{listeners.port} (" in failed.output
        assert f"{file}, line" in failed.output
        assert f"IGNY8_BACKUP['SANDBOX']['ALLOW'] = ['localhost:{listeners.port}']" in failed.output
    assert not listeners.reached()


def test_connection_to_an_allowed_address_is_permitted(small: SmallProject, listeners: Listeners) -> None:
    small.add(
        "settings.py",
        "port, path = os.environ['SMALL_TCP'], os.environ['SMALL_PATH']\n"
        "IGNY8_BACKUP['SANDBOX'] = {'ALLOW': [f'localhost:{port}', path]}",
    )
    small.prepare()
    body = (
        "import os, socket\ndef work(apps, editor):\n"
        "    for host in ('localhost', '127.0.0.1'):\n"
        "        socket.create_connection((host, int(os.environ['SMALL_TCP']))).close()\n"
        "    with socket.socket(socket.AF_UNIX) as opened:\n"
        "        opened.connect(os.environ['SMALL_PATH'])\n"
    )
    small.write("shop/migrations/0002_connect.py", migration(body))
    small.run("drill_backup").ended(0)
    assert listeners.reached()


def test_sockets_of_multiprocessing_and_of_the_system_log_are_permitted(small: SmallProject) -> None:
    small.add(
        "settings.py",
        "LOGGING = {'version': 1, 'handlers': {'sys': {'class': 'logging.handlers.SysLogHandler',"
        " 'address': '/dev/log' if os.path.exists('/dev/log') else ('localhost', 514)}},"
        " 'root': {'handlers': ['sys']}}",
    )
    small.prepare()
    body = (
        "import logging, multiprocessing, os, socket\n"
        "def work(apps, editor):\n"
        "    with multiprocessing.get_context('fork').Manager() as manager:\n"
        "        assert list(manager.list([1])) == [1]\n"
        "    logging.getLogger('shop').warning('to the log of the system')\n"
        "    socket.gethostbyname(socket.gethostname())\n"
    )
    small.write("shop/migrations/0002_own.py", migration(body))
    small.run("drill_backup").ended(0)


def test_program_that_a_migration_starts_reaches_no_server(small: SmallProject, listeners: Listeners) -> None:
    """Only the kernel can refuse the connections of other programs and of libraries written in C."""
    small.prepare()
    script = "import os, socket; socket.create_connection(('127.0.0.1', int(os.environ['SMALL_TCP'])))"
    body = (
        "import subprocess, sys\n"
        "def work(apps, editor):\n"
        f"    done = subprocess.run([sys.executable, '-c', {script!r}], stderr=subprocess.PIPE)\n"
        "    assert done.returncode and b'PermissionError' in done.stderr\n"
    )
    small.write("shop/migrations/0002_program.py", migration(body))
    small.run("drill_backup").ended(0)
    assert not listeners.reached()


def test_permitted_ports_are_unknown_with_a_service_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGPORT", raising=False)
    assert permitted_ports({"a": {"PORT": "5433,5434"}, "b": {}}, [("vault", 8200), ("/run/x", None)]) == [
        5432,
        5433,
        5434,
        8200,
    ]
    assert permitted_ports({"a": {"OPTIONS": {"service": "shop"}}}, []) == []
    assert permitted_ports({"a": {"PORT": "5432"}}, [("vault", None)]) == []
    monkeypatch.setenv("PGPORT", "6432")
    assert permitted_ports({"a": {}}, []) == [6432]
    monkeypatch.setenv("PGSERVICE", "shop")
    assert permitted_ports({"a": {}}, []) == []
