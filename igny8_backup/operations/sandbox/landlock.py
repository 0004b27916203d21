"""Have the Linux kernel refuse TCP connections of this process and its children, except to some ports.

The audit hook of ``network`` does not see connections of libraries written in C, nor of programs that the
project starts; the kernel does. It knows ports only, no hosts, and reports ``Permission denied``. Linux 6.7
and later can do this without privileges; other kernels refuse nothing. Source: Linux documentation,
"Landlock: unprivileged access control".
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

# The numbers of these system calls are the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_FIRST_WITH_NETWORK = 4
_RULE_NET_PORT = 2
_CONNECT_TCP = 1 << 1
_SET_NO_NEW_PRIVILEGES = 38
POSTGRESQL_PORT = 5432
# libpq itself may look up names over TCP and ask for tickets of Kerberos.
DNS_PORT = 53
_FOR_LIBRARIES = (DNS_PORT, 88)


def permitted_ports(
    databases: Mapping[str, Mapping[str, Any]], allowed: Iterable[tuple[str, int | None]]
) -> list[int]:
    """Return the TCP ports to which the sandbox process must be able to connect.

    These are the ports of ``databases`` (entries of DATABASES) and of the addresses ``allowed`` (host and
    port). If not all ports are known, the list is empty, and the caller refuses no ports: libpq may read a
    port from a service file, and an allowed host without a port stands for all its ports.
    """
    ports: set[int] = set()
    for host, port in allowed:
        if port is not None:
            ports.add(port)
        elif not host.startswith("/"):
            return []
    for database in databases.values():
        if "PGSERVICE" in os.environ or {"service", "port"} & (database.get("OPTIONS") or {}).keys():
            return []
        for text in str(database.get("PORT") or os.environ.get("PGPORT") or POSTGRESQL_PORT).split(","):
            if not text.strip().isdigit():
                return []
            ports.add(int(text))
    return sorted(ports)


class _Ruleset(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64), ("handled_access_net", ctypes.c_uint64))


class _PortRule(ctypes.Structure):
    _fields_ = (("allowed_access", ctypes.c_uint64), ("port", ctypes.c_uint64))


def refuse_other_ports(ports: Iterable[int]) -> bool:
    """Refuse TCP connections to other ports than ``ports``, for this thread and all that it starts.

    Ports of DNS and Kerberos stay permitted. Returns whether the kernel supports this. Call it before the
    process starts other threads.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None, use_errno=True)
    call = library.syscall
    call.restype = ctypes.c_long
    if call(_CREATE_RULESET, None, ctypes.c_size_t(0), _CREATE_RULESET_VERSION) < _FIRST_WITH_NETWORK:
        return False
    ruleset = _Ruleset(0, _CONNECT_TCP)
    descriptor = call(_CREATE_RULESET, ctypes.byref(ruleset), ctypes.c_size_t(ctypes.sizeof(ruleset)), 0)
    if descriptor < 0:
        return False
    try:
        for port in {*ports, *_FOR_LIBRARIES}:
            rule = _PortRule(_CONNECT_TCP, port)
            if call(_ADD_RULE, descriptor, _RULE_NET_PORT, ctypes.byref(rule), 0) != 0:
                return False
        # Required of processes without privileges: no program that they start can gain any.
        if library.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
            return False
        return bool(call(_RESTRICT_SELF, descriptor, 0) == 0)
    finally:
        os.close(descriptor)
