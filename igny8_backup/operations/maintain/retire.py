"""Retire a host: record that it makes no backups any more, so that nothing about it is an alarm."""

from __future__ import annotations

from igny8_backup.conf import SETTING
from igny8_backup.errors import RefusedError, UsageError
from igny8_backup.formats import keys
from igny8_backup.formats.documents.retirement import SCHEMA, Retirement
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.documents import store_signed, why_unsigned
from igny8_backup.operations.maintain.inventory import read_inventory
from igny8_backup.operations.maintain.pin import require_reason
from igny8_backup.signing.trust import RETIREMENT

_UNCHANGED = "Nothing was changed."


def retire(context: BackupContext, host: str, reason: str) -> Retirement:
    """Record that ``host`` makes no backups any more, signed with the key of this host; return the record.

    The retirement ends when the host runs a backup again. Takes the lock. Raises ``UsageError`` for a host
    that never ran a backup, for a host in the setting ``HOSTS``, or for an empty or unprintable reason;
    ``RefusedError`` if ``TRUSTED`` does not accept that this host signs it; ``IdentityError``;
    ``StorageError``.
    """
    require_reason(reason, "A retirement")
    if host in (context.config.hosts or ()):
        hint = f"Remove it from {SETTING}['HOSTS'], here and on the other machines: then it is retired."
        raise UsageError(f"HOSTS names the host {host!r}.", unchanged=_UNCHANGED, hint=hint)
    with context.locked("retiring a host"):
        seen = read_inventory(context).hosts.seen
        if host not in seen:
            known = ", ".join(sorted(seen)) or "none"
            what = f"No host {host!r} has run a backup in {context.store.describe()}."
            raise UsageError(what, unchanged=_UNCHANGED, hint=f"Hosts with backups: {known}.")
        if why := why_unsigned(context, RETIREMENT, host):
            raise RefusedError(
                f"The retirement of {host} would not count: {why}.",
                unchanged=_UNCHANGED,
                hint="Run retire_host on a machine that may sign retirements: the entry of its signing key in"
                f" TRUSTED has {RETIREMENT!r} in SIGNS. Or list the hosts that still make backups in"
                f" {SETTING}['HOSTS'].",
            )
        made = Retirement(
            schema=SCHEMA,
            host=host,
            reason=reason.strip(),
            retired=context.clock(),
            last_run=seen[host],
        )
        store_signed(context, keys.retirement_key(host), RETIREMENT, made)
    return made
