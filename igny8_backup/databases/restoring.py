"""A PostgreSQL restore up to the swap: what stands there, what is in the way, the side database, the load."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from igny8_backup.databases.base import Target
from igny8_backup.databases.clients import find_client, major_of, require_major
from igny8_backup.databases.connection import Connection
from igny8_backup.databases.description import database_row, list_settings, list_tables
from igny8_backup.errors import BackupError, DatabaseError, RefusedError
from igny8_backup.manifest import DatabaseDetails, DatabasePart, DatabaseSetting
from igny8_backup.streams import Blocks
from igny8_backup.streams.process import feed_process, run_process

_NAME_BYTES = 63  # NAMEDATALEN - 1: PostgreSQL silently cuts longer names.
_SCRATCH_MARGIN = 64 << 20


def aside_name(name: str, word: str, stamp: str) -> str:
    """``name__side_20261122T021500Z``, under 64 bytes: a long name is cut and told apart by a digest."""
    tail = f"__{word}_{stamp}"
    room = _NAME_BYTES - len(tail)
    if len(name.encode()) > room:
        digest = hashlib.sha256(name.encode()).hexdigest()[:6]
        name = name.encode()[: room - 7].decode(errors="ignore") + "_" + digest
    return name + tail


def target(live: Connection) -> Target:
    """What stands under the live name, seen from the maintenance database."""
    with live.maintenance() as session:
        row = database_row(session, live.name)
    if row is None:
        return Target(name=live.name, where=live.where, exists=False)
    with live.open() as session:
        tables = len(list_tables(session))
    return Target(name=live.name, where=live.where, exists=True, tables=tables, size=row["size"])


def obstacles(
    live: Connection, part: DatabasePart, details: DatabaseDetails, bin_dir: Path | None
) -> list[str]:
    """Why this dump cannot be restored on this server, one sentence each."""
    found: list[str] = []
    with live.maintenance() as session:
        server = session.info.parameter_status("server_version") or ""
        if major_of(server) < major_of(part.server_version):
            found.append(
                f"The dump is of PostgreSQL {part.server_version}; this server is {server}: use one as new."
            )
        try:
            client = find_client("pg_restore", server_major=major_of(server), bin_dir=bin_dir)
            dumped = f"the dump was written by pg_dump {part.dump_version}"
            require_major(client, major_of(part.dump_version), reason=dumped)
        except BackupError as error:
            found.append(str(error))
        found += _role_obstacles(session, details)
        found += _extension_obstacles(session, details)
        found += _live_obstacles(session, live.name)
    return found


def _role_obstacles(session: psycopg.Connection[Any], details: DatabaseDetails) -> list[str]:
    user, allowed = session.execute(
        "SELECT current_user, rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
    ).fetchone() or ("", False)
    found = []
    if not allowed:
        found.append(f"The role {user} may not create databases: ALTER ROLE {user} CREATEDB;")
    known = {row[0] for row in session.execute("SELECT rolname FROM pg_roles")}
    if missing := [role for role in details.roles if role not in known]:
        lines = " ".join(f"CREATE ROLE {sql.Identifier(role).as_string(None)};" for role in missing)
        found.append(f"Roles that own or may use something do not exist here: {lines}")
    foreign = [
        role
        for role in {details.owner, *details.roles}
        if role in known and session.execute("SELECT pg_has_role(%s, 'MEMBER')", [role]).fetchone() != (True,)
    ]
    found += [f"The role {user} cannot act for {role}: GRANT {role} TO {user};" for role in sorted(foreign)]
    return found


def _extension_obstacles(session: psycopg.Connection[Any], details: DatabaseDetails) -> list[str]:
    available = {row[0] for row in session.execute("SELECT name FROM pg_available_extensions")}
    missing = sorted(details.extensions.keys() - available)
    return [f"The extension {name} is not installed on this server." for name in missing]


def _live_obstacles(session: psycopg.Connection[Any], name: str) -> list[str]:
    """What would make the rename of the live database fail, or follow the old one."""
    questions = {
        "the server is a replica: restore on the primary": "SELECT pg_is_in_recovery() AND %s <> ''",
        "prepared transactions are open: COMMIT PREPARED or ROLLBACK PREPARED them": (
            "SELECT EXISTS (SELECT FROM pg_prepared_xacts WHERE database = %s)"
        ),
        "replication slots belong to the live database and would follow the old one: drop them": (
            "SELECT EXISTS (SELECT FROM pg_replication_slots WHERE database = %s)"
        ),
        "subscriptions are enabled in the live database: ALTER SUBSCRIPTION ... DISABLE": (
            "SELECT EXISTS (SELECT FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid"
            " WHERE d.datname = %s AND s.subenabled)"
        ),
        "the live database belongs to a role that this one cannot act for": (
            "SELECT EXISTS (SELECT FROM pg_database WHERE datname = %s AND NOT pg_has_role(datdba, 'MEMBER'))"
        ),
    }
    answers = {text: session.execute(query, [name]).fetchone() for text, query in questions.items()}
    return [f"{text[0].upper()}{text[1:]}." for text, answer in answers.items() if answer == (True,)]


def create_side(live: Connection, side: str, details: DatabaseDetails) -> None:
    """``CREATE DATABASE`` from ``template0`` as recorded; nobody but its owner may connect until the swap."""
    with live.maintenance() as session:
        tablespaces = {row[0] for row in session.execute("SELECT spcname FROM pg_tablespace")}
        options = [
            ("TEMPLATE", sql.Identifier("template0")),
            ("ENCODING", sql.Literal(details.encoding)),
            ("LC_COLLATE", sql.Literal(details.collate)),
            ("LC_CTYPE", sql.Literal(details.ctype)),
            ("OWNER", sql.Identifier(details.owner)),
        ]
        if session.info.server_version >= 150000:
            options.append(("LOCALE_PROVIDER", sql.Identifier(details.provider)))
        if details.locale:
            word = "BUILTIN_LOCALE" if details.provider == "builtin" else "ICU_LOCALE"
            options.append((word, sql.Literal(details.locale)))
        if details.icu_rules:
            options.append(("ICU_RULES", sql.Literal(details.icu_rules)))
        # pg_default is what comes anyway, and naming it takes a right that most roles lack.
        if details.tablespace != "pg_default" and details.tablespace in tablespaces:
            options.append(("TABLESPACE", sql.Identifier(details.tablespace)))
        words: Iterable[sql.Composable] = (
            sql.SQL("{} = {}").format(sql.SQL(word), value)
            for word, value in options
        )
        name = sql.Identifier(side)
        session.execute(sql.SQL("CREATE DATABASE {} WITH {}").format(name, sql.SQL(" ").join(words)))
        session.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(name))


def load(
    side: Connection, blocks: Blocks, *, raw_bytes: int, scratch: Path, jobs: int, bin_dir: Path | None
) -> None:
    """``pg_restore`` into ``side``, then ``ANALYZE``.

    Several jobs need a file to seek in: the dump goes to private scratch that has no name where the system
    allows. Where ``scratch`` lacks the room, one job reads the stream, and nothing touches a disk.
    """
    with side.maintenance() as session:
        server = session.info.parameter_status("server_version") or ""
    program = find_client("pg_restore", server_major=major_of(server), bin_dir=bin_dir)
    with closing(blocks), side.environment(scratch) as (env, arguments):
        # A restored subscription would carry production's slot name; it is never made.
        argv = [str(program.path), "--exit-on-error", "--no-subscriptions", *arguments]
        if not any(argument.startswith("--dbname=") for argument in arguments):
            argv.append(f"--dbname={psycopg.conninfo.make_conninfo(dbname=side.name)}")
        if jobs > 1 and _free(scratch) > raw_bytes + _SCRATCH_MARGIN:
            _load_from_scratch(argv, blocks, env, scratch, jobs)
        else:
            feed_process(argv, blocks, env=env)
    with side.open() as session:
        session.execute("ANALYZE")


def _load_from_scratch(
    argv: list[str], blocks: Blocks, env: dict[str, str], scratch: Path, jobs: int
) -> None:
    linux = sys.platform == "linux"
    make = tempfile.TemporaryFile if linux else tempfile.NamedTemporaryFile
    with make(dir=scratch, prefix="igny8_backup-") as file:
        for block in blocks:
            file.write(block)
        file.flush()
        # Each worker opens the archive again by this name, which on Linux reaches a file without one.
        path = f"/proc/self/fd/{file.fileno()}" if linux else file.name
        passed = (file.fileno(),) if linux else ()
        run_process([*argv, f"--jobs={jobs}", path], env=env, pass_fds=passed)


def _free(folder: Path) -> int:
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize


def seal_side(live: Connection, side: str, details: DatabaseDetails) -> None:
    """Settings of a database and of roles in it do not follow a rename: the live one's (else the recorded
    ones) are given to ``side``."""
    with live.maintenance() as session:
        exists = database_row(session, live.name) is not None
        wanted = list_settings(session, live.name) if exists else details.settings
        for setting in wanted:
            _apply_setting(session, side, setting)


def _apply_setting(session: psycopg.Connection[Any], side: str, setting: DatabaseSetting) -> None:
    name = sql.Identifier(*setting.name.split("."))
    if setting.role:
        who = sql.SQL("ALTER ROLE {} IN DATABASE {}").format(
            sql.Identifier(setting.role), sql.Identifier(side)
        )
    else:
        who = sql.SQL("ALTER DATABASE {}").format(sql.Identifier(side))
    try:
        if setting.name in ("search_path", "temp_tablespaces"):
            # These hold lists that are quoted already: given as one literal they would be one name.
            session.execute("SELECT set_config(%s, %s, false)", [setting.name, setting.value])
            session.execute(sql.SQL("{} SET {} FROM CURRENT").format(who, name))
            session.execute(sql.SQL("RESET {}").format(name))
        else:
            session.execute(sql.SQL("{} SET {} TO {}").format(who, name, sql.Literal(setting.value)))
    except psycopg.Error as error:
        owner = f"of role {setting.role} in the database" if setting.role else "of the database"
        raise DatabaseError(
            f"The setting {setting.name} {owner} cannot be carried over: {' '.join(str(error).split())}.",
            untouched="The live database is as it was.",
            fix="Restore with a role that may set it (a superuser), or drop that setting first.",
        ) from None


def drop(live: Connection, name: str) -> None:
    """Drops a database that a restore made or set aside. Raises :class:`RefusedError` for any other."""
    if name == live.name or not ("__side_" in name or "__before_" in name):
        raise RefusedError(
            f"{name!r} is not a database that a restore made.", untouched="It was not dropped."
        )
    with live.maintenance() as session:
        session.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
