"""Sockets that gevent and eventlet have replaced are refused in the sandbox like those of Python."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.operations.sandbox.small import SmallProject, migration
from tests.services import skip_without

PATCH = {
    "gevent": "from gevent import monkey\nmonkey.patch_all()",
    "eventlet": "import eventlet\neventlet.monkey_patch()",
}
GREEN_THREAD = {
    "gevent": "import gevent; gevent.spawn(connect).get()",
    "eventlet": "import eventlet; eventlet.spawn(connect).wait()",
}
TRY = """
import json, select, socket, tempfile, urllib.request
from igny8_backup.operations.sandbox.network import refuse_connections, refused_connections

tcp = socket.create_server(("127.0.0.1", 0))
udp = socket.socket(type=socket.SOCK_DGRAM)
udp.bind(("127.0.0.1", 0))
(host, port), datagram = tcp.getsockname(), udp.getsockname()
refuse_connections()
%(patch)s
import socket as patched

def connect(): patched.create_connection((host, port), timeout=5)
def by_name(): patched.create_connection(("localhost", port), timeout=5)
def http(): urllib.request.urlopen(f"http://localhost:{port}/", timeout=5)
def datagrams(): patched.socket(type=socket.SOCK_DGRAM).sendto(b"a metric", datagram)
def green_thread(): %(green_thread)s
def connect_ex():
    if number := patched.socket().connect_ex((host, port)):
        raise OSError(number, "refused")

found = {}
for way in (connect, by_name, http, datagrams, green_thread, connect_ex):
    try:
        way()
    except OSError as error:
        found[way.__name__] = str(error)
print(json.dumps([found, refused_connections(), len(select.select([tcp, udp], [], [], 0)[0])]))
"""
WAYS = {"connect", "by_name", "http", "datagrams", "green_thread", "connect_ex"}


@pytest.mark.parametrize("library", PATCH)
def test_connections_of_green_sockets_are_refused(library: str) -> None:
    skip_without(library)
    script = TRY % {"patch": PATCH[library], "green_thread": GREEN_THREAD[library]}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, timeout=60)
    found, refused, reached = json.loads(done.stdout)
    assert found.keys() == WAYS and not reached
    assert "IGNY8_BACKUP['SANDBOX']['ALLOW'] = ['127.0.0.1:" in refused


def test_project_that_starts_with_sockets_of_gevent_is_backed_up_and_drilled(small: SmallProject) -> None:
    skip_without("gevent")
    text = (small.folder / "manage.py").read_text()
    small.write("manage.py", f"{PATCH['gevent']}\n{text}")
    small.prepare()
    body = (
        "import socket\ndef work(apps, editor):\n"
        "    try:\n        socket.create_connection(('127.0.0.1', 1))\n"
        "    except ConnectionRefusedError as error:\n        assert 'sandbox' in str(error)\n"
        "    apps.get_model('shop', 'Order').objects.create(customer='done')\n"
    )
    small.write("shop/migrations/0002_connect.py", migration(body))
    assert "127.0.0.1:1 (" in small.run("drill_backup").ended(0).output


def test_command_in_a_process_with_threads_of_eventlet_is_refused(small: SmallProject) -> None:
    skip_without("eventlet")
    text = (small.folder / "manage.py").read_text()
    small.write("manage.py", f"{PATCH['eventlet']}\n{text}")
    refused = small.run("backup_db").ended(4).output
    assert "This program uses eventlet" in refused and "without eventlet.monkey_patch()" in refused
