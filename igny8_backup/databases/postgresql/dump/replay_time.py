"""Find the time up to which a standby has replayed the changes of its primary.

A standby answers queries even while its replay is paused, delayed or cut off from the primary. A dump of such
a standby is complete, but its data are old (PostgreSQL docs, 9.28.3 and 28.2.6).
"""

from __future__ import annotations

from datetime import UTC, datetime

from igny8_backup.databases.session import DriverError, Session

# The newest position that the primary has reported is visible to members of pg_read_all_stats only. Other
# roles see the position that was received, and whether there is a receiver.
_STATE = """
    SELECT pg_last_xact_replay_timestamp(),
      r.pid IS NOT NULL AND coalesce(r.status, 'streaming') = 'streaming'
        AND pg_last_wal_replay_lsn() >= coalesce(r.latest_end_lsn, pg_last_wal_receive_lsn()),
      coalesce(r.last_msg_send_time, clock_timestamp())
    FROM (SELECT) AS one LEFT JOIN pg_stat_wal_receiver r ON true"""
_CHECKPOINT = "SELECT checkpoint_time FROM pg_control_checkpoint()"


def replay_time(session: Session) -> datetime | None:
    """Return the time, in UTC, up to which a standby shows the data of its primary.

    Returns ``None`` for a primary, and if the time is unknown. If the standby has replayed all changes that
    it knows of, the result is the time of the last message from its primary: the data were up to date then.
    Otherwise the result is the time of the last replayed commit, by the clock of the primary. If no commit
    was replayed since the standby was started, it is the time of the last checkpoint.

    If the standby receives the changes from another standby, it does not know of changes that this other
    standby has not sent yet.
    """
    try:
        (standby,) = session.execute("SELECT pg_is_in_recovery()").fetchone() or (False,)
        if not standby:
            return None
        replayed, current, reported = session.execute(_STATE).fetchone() or (None, False, None)
        found = reported if current else replayed
        if found is None:  # nothing was replayed since the standby was started
            (found,) = session.execute(_CHECKPOINT).fetchone() or (None,)
    except DriverError:
        if session.closed:
            raise
        return None
    return found.astimezone(UTC) if isinstance(found, datetime) else None
