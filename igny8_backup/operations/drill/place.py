"""Choose the server and the role with which a drill restores databases.

The SQL of a dump can do everything that the connected role is allowed to do. So a drill prefers, in this
order: a private server, if the user asked for one; the server in the setting ``DRILL``; a role on the live
server that is made for this drill; the role of the application, which is allowed to change the live database.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from igny8_backup.databases.engine import Engine
from igny8_backup.databases.private_server import PrivateServer, find_server, private_server
from igny8_backup.databases.values import ServerAccess
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.drill.locks import drill_engine, role_prefix

OWN_ROLE = (
    "The drill connects with the role of the application, which may change the live database, because"
    " this role may not create a role for the drill. Better: drill_backup --own-server, or the setting DRILL."
    ' See "Limit what a backup can do" in the documentation.'
)
MADE_ROLE = (
    "The drill connects with a role that was made for it, so owners and privileges are not restored or"
    " compared. To compare them: drill_backup --own-server, or the setting DRILL."
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A way to connect to a server for a drill. ``access`` is ``None`` for the role of the application.

    ``owners``: owners and privileges can be restored. ``of_application``: the role is that of the
    application, which can change the live database.
    """

    engine: Engine
    access: ServerAccess | None = None
    owners: bool = True
    of_application: bool = False


class Places:
    """The places (ways to connect) that one drill can use, as a context manager.

    At its end, the private servers and the roles that were made for the drill are removed. ``own_server``:
    start private servers, with their data in folders beside ``folder``. ``stamp`` is the start of the drill.
    """

    def __init__(self, context: BackupContext, folder: Path, *, own_server: bool, stamp: str) -> None:
        self._context = context
        self._folder = folder
        self._own_server = own_server
        self._role = f"{role_prefix(context)}{stamp}"
        self._servers: dict[Path, PrivateServer] = {}
        self._roles: dict[str, ServerAccess | None] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Places:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def of_database(self, part: DatabasePart, details: DatabaseDetails) -> Iterator[Place]:
        """Yield the places where a database can be restored, the best first.

        The private server is started, or the role made, just before its place is yielded. Raises
        ``BackupError`` if that fails.
        """
        engine = self._context.engine(part.alias)
        if self._own_server:
            server = self._start_server(part)
            engine.at(server.superuser).create_missing_roles(details, server.role.user)
            yield Place(engine=engine.at(server.role), access=server.role)
            return
        moved, access = drill_engine(self._context, part.alias)
        if access:
            yield Place(engine=moved, access=access)
            return
        if access := self._make_role(engine):
            yield Place(engine=engine.at(access), access=access, owners=False)
        yield Place(engine=engine, of_application=True)

    def _start_server(self, part: DatabasePart) -> PrivateServer:
        config = self._context.config
        bin_dir = find_server(part, config.client_bin_dir)
        if bin_dir not in self._servers:
            folder = self._folder.with_name(f"{self._folder.name}-server{len(self._servers)}")
            server = private_server(bin_dir, folder, config.restore_user)
            self._servers[bin_dir] = self._stack.enter_context(server)
        return self._servers[bin_dir]

    def _make_role(self, engine: Engine) -> ServerAccess | None:
        """Return how to connect as the role of this drill; ``None`` if the server does not allow such a role.

        The role is made once for each server.
        """
        place = engine.identity().partition("/")[0]
        if place not in self._roles:
            self._roles[place] = self._stack.enter_context(engine.drill_role(self._role))
        return self._roles[place]
