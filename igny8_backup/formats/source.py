"""Record from which database server a dump comes and which migrations were applied there.

A later backup is compared with this record: see :mod:`igny8_backup.standing`. The manifest that contains the
record can be read without a key, so the record does not name migrations. It holds a token of each instead.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

DIGITS = 8
"""The hexadecimal digits of one token."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The server and the applied migrations of a database when it was dumped.

    ``system_identifier`` identifies the data folder of the PostgreSQL server; it is empty if the role may not
    read it, and for SQLite. ``migrations`` are the tokens of all applied migrations, and ``stale`` those of
    the migrations that the code had dropped. Each is a string of sorted tokens of eight hexadecimal digits.
    ``migrations_key`` identifies the key of the tokens. Only tokens of the same key can be compared.
    """

    system_identifier: str = ""
    migrations_key: str = ""
    migrations: str = ""
    stale: str = ""

    def lost(self, now: Source) -> int | None:
        """Return how many migrations of this record are missing from the later record ``now``.

        Migrations that the code had dropped do not count, because ``migrate --prune`` removes them. The
        result is ``None`` if the two records cannot be compared.
        """
        if not self.migrations_key or self.migrations_key != now.migrations_key:
            return None
        return len(_tokens(self.migrations) - _tokens(self.stale) - _tokens(now.migrations))


def source_of(
    system_identifier: str,
    applied: Mapping[str, Iterable[str]] | None,
    stale: Mapping[str, Iterable[str]],
    recipients: Iterable[str],
) -> Source:
    """Return the record of the server of a database and of its applied and stale migrations.

    ``system_identifier`` identifies the data folder of the PostgreSQL server. ``applied`` maps apps to the
    names of the applied migrations; it is ``None`` if these are not known. ``stale`` does the same for the
    applied migrations that the code has dropped. The token of a migration is the HMAC-SHA256 (RFC 2104) of
    its name, cut to eight digits. The key of the HMAC is derived from ``recipients``, the public keys of the
    backup, because all hosts that back up the database have them. The manifest names the recipients too, so
    somebody who can read it can test guessed names of migrations.
    """
    if applied is None:
        return Source(system_identifier=system_identifier)
    key = hashlib.sha256("\n".join(sorted(recipients)).encode()).digest()
    return Source(
        system_identifier=system_identifier,
        migrations_key=_digest(key, "igny8_backup migrations")[:16],
        migrations=_row(key, applied),
        stale=_row(key, stale),
    )


def _row(key: bytes, migrations: Mapping[str, Iterable[str]]) -> str:
    names = (f"{app}.{name}" for app, found in migrations.items() for name in found)
    return "".join(sorted({_digest(key, name)[:DIGITS] for name in names}))


def _digest(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _tokens(row: str) -> set[str]:
    return {row[at : at + DIGITS] for at in range(0, len(row), DIGITS)}
