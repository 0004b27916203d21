"""How many locks a server has room for. :func:`read_lock_table` is the entry point."""

from __future__ import annotations

from dataclasses import dataclass

from igny8_backup.databases.session import Session

# The processes that may hold locks: connections, prepared transactions, autovacuum and its launcher,
# background workers and WAL senders (MaxBackends and NLOCKENTS in PostgreSQL's sources).
_LOCK_TABLE = """
    SELECT current_setting('max_locks_per_transaction')::int, 1 + sum(setting::int)::int,
           (SELECT count(*)::int FROM pg_locks WHERE NOT fastpath)
    FROM pg_settings WHERE name IN ('max_connections', 'max_prepared_transactions', 'max_worker_processes',
      'max_wal_senders', CASE WHEN current_setting('server_version_num')::int < 180000
                         THEN 'autovacuum_max_workers' ELSE 'autovacuum_worker_slots' END)"""

# The lock table has memory for two sessions at each lock and can use all of it for one. So a session that is
# alone gets at least 1.45 times as many locks. Later servers may allocate the table differently.
_ALONE = 1.4
_NEWEST_GROWING = 18


@dataclass(frozen=True, kw_only=True)
class LockTable:
    """The size of a server's lock table, and how much of it is in use.

    ``max_locks_per_transaction`` is a setting of the server, and ``processes`` is the number of processes
    that can hold locks. The table has room for at least the product of the two. ``used`` is the number of
    locks that are held now, ``major`` the major version of the server.
    """

    max_locks_per_transaction: int
    processes: int
    used: int
    major: int

    def capacity(self, setting: int = 0, *, shared: bool = False) -> int:
        """Return the number of locks that the table has room for.

        ``shared``: two sessions hold each of these locks; otherwise one session holds all of them. If
        ``setting`` is not 0, it is used instead of the server's ``max_locks_per_transaction``.
        """
        growth = _ALONE if self.major <= _NEWEST_GROWING and not shared else 1
        return int((setting or self.max_locks_per_transaction) * self.processes * growth)

    def setting_for(self, needed: int, *, shared: bool = False) -> int:
        """Return the ``max_locks_per_transaction``, a multiple of 64, that is enough for ``needed`` locks.

        ``shared``: two sessions hold each of these locks.
        """
        setting = 64
        while self.capacity(setting, shared=shared) < needed + self.used:
            setting += 64
        return setting


def read_lock_table(session: Session) -> LockTable:
    """Return the lock table of the server of ``session``."""
    setting, processes, used = session.execute(_LOCK_TABLE).fetchone() or (0, 0, 0)
    major = session.server_version // 10000
    return LockTable(max_locks_per_transaction=setting, processes=processes, used=used, major=major)
