"""Refuse the network connections that the project's code opens in the sandbox process.

A migration that runs on a copy of the data must not publish messages, write to a search engine or call a
service. An audit hook of the interpreter sees every connection of Python code before it is made, whatever
library makes it, and also in threads, with asyncio, gevent and eventlet. Questions to the name servers of
this machine are permitted, because the C library may ask them anyway. The hook does not see connections of
libpq, so ``isolation`` changes the settings of the databases. It does not see those of other libraries
written in C, nor of programs that the project starts: ``landlock`` refuses these.

A refused connection raises :class:`SandboxConnectionError`, a ``ConnectionRefusedError``. So a project that
can work without a service works here, too. Source: Python documentation, "Audit events table".
"""

from __future__ import annotations

import _socket  # which gevent and eventlet do not replace
import errno
import os
import socket
import sys
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from igny8_backup.operations.sandbox.landlock import DNS_PORT, POSTGRESQL_PORT
from igny8_backup.operations.sandbox.places import place_of_call, project_packages

Address = tuple[str, int | None]
"""A host and a port, or ``None`` for every port of the host; or the path of a Unix socket, and ``None``."""

_EVENTS = ("socket.connect", "socket.sendto", "socket.sendmsg")
# The system's logs, to which logging.handlers.SysLogHandler connects when the settings are read.
_SYSTEM_LOGS = ("/dev/log", "/var/run/syslog", "/run/systemd/journal/")
_NAME_SERVERS = "/etc/resolv.conf"
_MOST_SHOWN = 20
_look_up = _socket.getaddrinfo

_allowed: list[Address] = []  # by the setting ALLOW
_permitted: list[Address] = []
_names: dict[str, set[str]] = {}  # the host names that were looked up, by IP address
_bound_paths: set[str] = set()
_refused: dict[str, str] = {}  # the place in the project's code, by address


class SandboxConnectionError(ConnectionRefusedError):
    """The project's code opened a connection that the sandbox does not permit."""


def refuse_connections(permitted: Iterable[Address] = ()) -> None:
    """Refuse, from now on and in all threads, every connection except those to ``permitted`` addresses.

    An address is a host and a port (``None`` for all ports), or the path of a Unix socket.
    """
    _allowed.extend((host, port) for host, port in permitted)
    _permitted.extend([*_allowed, *_name_servers()])
    _remember_names()
    sys.addaudithook(_hook)


def permit_databases(databases: Iterable[Mapping[str, Any]]) -> None:
    """Permit connections to ``databases`` (entries of DATABASES), for drivers that are written in Python."""
    for database in databases:
        hosts = str(database.get("HOST") or "localhost").split(",")
        ports = str(database.get("PORT") or os.environ.get("PGPORT") or POSTGRESQL_PORT).split(",")
        for number, host in enumerate(hosts):
            port = ports[min(number, len(ports) - 1)]
            if host.startswith("/"):
                _permitted.append((f"{host}/.s.PGSQL.{port}", None))
            else:
                _permitted.append((host, int(port) if port.isdigit() else None))


def refused_connections() -> str:
    """Return a sentence about the connections that were refused so far; an empty text if there are none."""
    if not _refused:
        return ""
    listed = "; ".join(f"{address} ({place})" for address, place in _refused.items())
    return (
        f"The sandbox refused connections that the project's code opened: to {listed}. To permit them, set"
        f" IGNY8_BACKUP['SANDBOX']['ALLOW'] = {[*_refused]}."
    )


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.bind":
        if arguments[0].family == socket.AF_UNIX:
            _bound_paths.add(_text(arguments[1]))
    elif event in _EVENTS:
        opened, address = arguments
        if address and not _is_permitted(opened, address):
            refuse(address)


def _is_permitted(opened: Any, address: Any) -> bool:
    if opened.family == socket.AF_UNIX:
        return _is_permitted_path(_text(address))
    if opened.family not in (socket.AF_INET, socket.AF_INET6):
        return bool(opened.family == getattr(socket, "AF_NETLINK", None))  # which leads to the kernel
    host, port = _text(address[0]), address[1]
    return any(_matches(item, host, port) for item in _permitted)


def _is_permitted_path(path: str) -> bool:
    """Return whether the project may connect to the Unix socket ``path``.

    It may connect to the system's logs, to sockets that this process has bound, and to those of the workers
    of multiprocessing.
    """
    return (
        (path, None) in _permitted
        or path in _bound_paths
        or path.startswith((*_SYSTEM_LOGS, "\0listener-", f"{tempfile.gettempdir()}/pymp-"))
    )


def _matches(item: Address, host: str, port: int) -> bool:
    permitted, permitted_port = item
    if permitted_port not in (None, port) or permitted.startswith("/"):
        return False
    if permitted == host or permitted in _names.get(host, ()):
        return True
    try:  # the project may have looked up the name without Python's resolver
        found = _look_up(permitted, port, 0, _socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return any(entry[4][0] == host for entry in found)


def is_allowed(address: tuple[str, int]) -> bool:
    """Return whether the setting ALLOW permits connections to this host and port."""
    return any(_matches(item, *address) for item in _allowed)


def refuse(address: Any) -> NoReturn:
    """Record that a connection was refused, and raise :class:`SandboxConnectionError`."""
    shown, place = _shown(address), place_of_call(project_packages())
    if len(_refused) < _MOST_SHOWN:
        _refused.setdefault(shown, place)
    raise SandboxConnectionError(
        errno.ECONNREFUSED,
        f"the sandbox of a restore refused the connection to {shown} ({place}). To permit it, set"
        f" IGNY8_BACKUP['SANDBOX']['ALLOW'] = [{shown!r}]",
    )


def _shown(address: Any) -> str:
    """Return an address as it is written in the setting ALLOW, with the name of the host if it is known."""
    if not isinstance(address, tuple):
        return _text(address)
    host = _text(address[0])
    names = sorted(_names.get(host, ()))
    host = names[0] if names else f"[{host}]" if ":" in host else host
    return f"{host}:{address[1]}" if len(address) > 1 else host


def _remember_names() -> None:
    """Record the host name of each address that Python looks up.

    A connection names only the address, but the setting ALLOW names the host.
    """

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        found = _look_up(host, *args, **kwargs)
        for address in {_text(entry[4][0]) for entry in found} - {_text(host)} if host else ():
            _names.setdefault(address, set()).add(_text(host))
        return found

    # In the module behind "socket", from which gevent and asyncio look names up, too.
    _socket.getaddrinfo = getaddrinfo


def _name_servers() -> list[Address]:
    """Return the DNS servers of this machine, which resolvers written in Python (eventlet, dnspython) ask."""
    try:
        with open(_NAME_SERVERS, encoding="ascii", errors="replace") as file:
            lines = [line.split() for line in file]
    except OSError:
        return []
    return [(words[1], DNS_PORT) for words in lines if len(words) > 1 and words[0] == "nameserver"]


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes | bytearray) else str(value)
