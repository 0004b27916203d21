"""Run the project's own code (migrations, sanitizers) against staging databases, in a separate process.

In that process, each restored alias connects to its staging database. (If this database had an alias of its
own, a data migration that uses ``Model.objects`` would write to the live database.) All other aliases raise
an error when they are used; Redis, brokers and mail are in memory; other connections are refused. The process
starts the project in the same way as its parent process did: see ``operations.sandbox``.

``python -m igny8_backup.operations.staging.project_code.sandbox`` reads a JSON request from standard input.
The process reads the project's settings itself, so the request contains no secret except the password that a
drill uses. Its result is JSON on standard output; if it fails, the reason is on standard error. Whatever the
project prints is discarded.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from igny8_backup.databases.values import ServerAccess
from igny8_backup.errors import BackupError, ToolError

Note = Callable[[str], None]
"""A function that receives a sentence for the operator about the connections that the sandbox refused."""


def rehearse(
    applied: Mapping[str, Sequence[tuple[str, str]]],
    aliases: Sequence[str],
    sanitizers: Sequence[str] = (),
    *,
    note: Note,
) -> dict[str, list[str]]:
    """Start the project in the sandbox without a staging database, and plan its migrations there.

    ``aliases`` are those of the databases to restore. During the rehearsal they connect to the live
    databases, but nothing is written. ``applied`` maps aliases to the migrations (app and name) that the
    backup has recorded as applied. Each of ``sanitizers`` that is a dotted path is imported; SQL files are
    ignored. Returns, for each alias in ``applied``, the migrations that a restore would run. ``note``
    receives a sentence if the sandbox refused connections. Raises :class:`BackupError` if any of this fails.
    """
    request = {
        "work": "rehearse",
        "usable": list(aliases),
        "applied": {alias: [list(item) for item in items] for alias, items in applied.items()},
        "sanitizers": list(sanitizers),
    }
    result: dict[str, list[str]] = _run(request, "Starting the project in the sandbox", note=note)
    return result


_NO_LIMITS = """
    SELECT set_config(name, CASE name WHEN 'default_transaction_read_only' THEN 'off' ELSE '0' END, false)
    FROM pg_settings WHERE name IN ('default_transaction_read_only', 'statement_timeout', 'lock_timeout',
      'transaction_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout')"""


def migrate(names: Mapping[str, str], servers: Mapping[str, ServerAccess], *, note: Note) -> None:
    """Run ``migrate`` in staging databases; ``names`` maps each alias to the name of its staging database.

    ``servers``: connections, by alias, that differ from ``DATABASES``. ``note`` receives a sentence if the
    sandbox refused connections. Raises :class:`BackupError`; its message has no values of rows.
    """
    places = {alias: asdict(access) for alias, access in servers.items()}
    _run(
        {"names": dict(names), "servers": places, "work": "migrate"},
        "Migrating the staging database",
        note=note,
        hint="Fix the migration, or install the code that made the backup.",
    )


def sanitize(names: Mapping[str, str], sanitizers: Mapping[str, Sequence[str]], *, note: Note) -> None:
    """Run the sanitizers (SQL files and callables) of each alias in its staging database.

    ``names`` maps each alias to the name of its staging database. ``note`` receives a sentence if the sandbox
    refused connections. Raises :class:`BackupError`, which contains no data.
    """
    _run(
        {"names": dict(names), "work": "sanitize", "sanitizers": dict(sanitizers)},
        "Sanitizing the staging database",
        note=note,
        unchanged="The live database was not changed.",
        hint="Fix the sanitizer, then run the command again.",
        ended="a sanitizer has ended the process.",
    )


def check(aliases: Sequence[str]) -> None:
    """Run a query and ``migrate --check`` in each live database. Raises :class:`BackupError`."""
    _run({"aliases": list(aliases), "work": "check"}, "The check of the live databases")


def _run(
    request: dict[str, Any],
    what: str,
    *,
    note: Note | None = None,
    unchanged: str = "",
    hint: str = "",
    ended: str = "the project's code has ended the process.",
) -> Any:
    # Imported here because the child process imports this module before Django is set up.
    from django.conf import settings

    from igny8_backup.conf import get_config
    from igny8_backup.operations.sandbox.landlock import permitted_ports
    from igny8_backup.operations.sandbox.process import ENVIRONMENT
    from igny8_backup.operations.sandbox.start import find_start, interpreter
    from igny8_backup.streams.process import run_process

    config = get_config().sandbox
    start = find_start(config.script)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    if request["work"] != "check":
        env[ENVIRONMENT] = "1"
    argv = [*interpreter(), "-m", "igny8_backup.operations.staging.project_code.sandbox"]
    try:
        servers = [access for access in request.get("servers", {}).values() if access["host"]]
        others = {access["host"]: {"PORT": access["port"]} for access in servers}
        ports = permitted_ports({**settings.DATABASES, **others}, config.allow)
        request = {**request, "start": asdict(start), "allow": config.allow, "ports": ports}
        output = run_process(argv, env=env, input=json.dumps(request).encode())
    except ToolError as error:
        reason = error.stderr_tail or f"the project's code has ended the process: {error.what}"
        raise BackupError(f"{what} failed: {reason}", unchanged=unchanged, hint=hint) from None
    if not output:
        raise BackupError(f"{what} failed: {ended}", unchanged=unchanged, hint=hint)
    answer = json.loads(output)
    if note and answer["refused"]:
        note(answer["refused"])
    return answer["result"]


def _lift_limits(connection: Any, **kwargs: object) -> None:
    """Allow a new session to write, and remove its timeouts.

    The role or the database can have settings that forbid writing or limit the time. Those settings are meant
    for the application, not for this work.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(_NO_LIMITS)


def _work(request: dict[str, Any]) -> Any:
    """Do the work of the JSON ``request`` after the project has started; return its result as JSON values."""
    from django.db import connections

    from igny8_backup.operations.sandbox.isolation import silence_sentry
    from igny8_backup.operations.staging.project_code import migrate_process, sanitizer_process
    from igny8_backup.operations.staging.project_code.beat import mark_tasks_as_run

    names: dict[str, str] = request.get("names", {})
    work = request["work"]
    if work != "check":
        silence_sentry()
    result: Any = True
    try:
        migrate_process.require_staging(names)
        if work == "rehearse":
            result = migrate_process.rehearse(request["applied"])
            sanitizer_process.check_imports(request["sanitizers"])
        elif work == "migrate":
            for alias in names:
                migrate_process.run(alias)
                mark_tasks_as_run(connections[alias])
        elif work == "sanitize":
            sanitizer_process.run(request["sanitizers"])
        else:
            migrate_process.check(request["aliases"])
    finally:
        connections.close_all()
    return result


def _before_apps(request: dict[str, Any]) -> None:
    """Isolate the settings and remove limits of database sessions, before the project's apps are loaded.

    ``request`` is the JSON request. The settings are isolated for all work except ``check``, which uses the
    live databases. Limits are removed only for work that writes to staging databases.
    """
    from django.db.backends.signals import connection_created

    from igny8_backup.operations.sandbox.isolation import isolate_settings

    if request["work"] != "check":
        isolate_settings(request.get("names", {}), request.get("usable", ()), request.get("servers", {}))
    if request["work"] in ("migrate", "sanitize"):
        connection_created.connect(_lift_limits)


def _main() -> None:
    from igny8_backup.operations.sandbox.isolation import isolate_libraries
    from igny8_backup.operations.sandbox.landlock import refuse_other_ports
    from igny8_backup.operations.sandbox.network import refuse_connections, refused_connections
    from igny8_backup.operations.sandbox.process import run_in_project
    from igny8_backup.operations.sandbox.start import Start

    if not sys.flags.safe_path:
        del sys.path[0]  # the working directory, which "python -m" has added
    request = json.load(sys.stdin)
    start = Start(**request.get("start", {}))
    if request["work"] != "check":
        refuse_connections(request.get("allow", ()))
        if ports := request.get("ports"):
            refuse_other_ports(ports)
        isolate_libraries()
    found: list[Any] = []
    run_in_project(
        start, work=lambda: found.append(_work(request)), before_apps=lambda: _before_apps(request)
    )
    answer = {"result": found[0], "refused": refused_connections()}
    os.write(_output, json.dumps(answer).encode())


if __name__ == "__main__":
    # The project may print data, and the parent takes standard error for the reason of a failure.
    _output, _errors = os.dup(1), os.dup(2)
    with open(os.devnull, "r+b") as _nothing:
        os.dup2(_nothing.fileno(), 1)
        os.dup2(_nothing.fileno(), 2)
    _status = 0
    try:
        _main()
    except Exception as error:
        os.write(_errors, str(error).encode())
        _status = 1
    from igny8_backup.operations.sandbox.process import end_process

    end_process(_status)
