"""Restore a database without the owners of the backup, or with another locale."""

from __future__ import annotations

from dataclasses import dataclass, replace

from igny8_backup.databases.capabilities import Capability
from igny8_backup.databases.engine import Engine
from igny8_backup.formats.details import DatabaseDetails, Privilege

PROVIDERS = ("libc", "icu", "builtin")


@dataclass(frozen=True, kw_only=True)
class RestoreOverrides:
    """The differences between the restored database and the backup.

    ``owners``: restore owners and privileges. ``locale``: the locale of the database; empty for that of the
    backup. ``provider``: the provider of ``locale`` (PostgreSQL documentation, CREATE DATABASE).
    """

    owners: bool = True
    locale: str = ""
    provider: str = "libc"


def apply_overrides(
    engine: Engine, details: DatabaseDetails, overrides: RestoreOverrides
) -> tuple[DatabaseDetails, tuple[str, ...]]:
    """Apply ``overrides`` to the details of a backup; return the new details, and notes on the differences.

    Raises ``UsageError`` if the engine has no owners and locales.
    """
    if overrides == RestoreOverrides():
        return details, ()
    engine.require(
        Capability.OVERRIDE, unchanged="Nothing was changed.", hint="Remove --no-owner and --locale."
    )
    notes = []
    if not overrides.owners:
        current, existing = engine.roles()
        details = _without_owners(details, current, existing)
        notes.append(
            f"{details.alias}: {current} will own everything. Privileges of other roles are left out."
        )
    if overrides.locale:
        was = details.locale or details.collate
        details = _with_locale(details, overrides)
        notes.append(
            f"{details.alias}: created with the locale {overrides.locale} ({overrides.provider}) instead of"
            f" {was}. Text may sort and compare differently."
        )
    return details, tuple(notes)


def owner_privileges(owner: str) -> tuple[Privilege, ...]:
    """Return the privileges that the owner of a database has on it by default."""
    names = ("CONNECT", "CREATE", "TEMPORARY")
    return tuple(Privilege(grantee=owner, privilege=name, grantable=False) for name in names)


def _without_owners(details: DatabaseDetails, current: str, existing: frozenset[str]) -> DatabaseDetails:
    """Return a copy of ``details`` in which the role ``current`` owns everything.

    Of the privileges on the database, only those of PUBLIC are kept. Settings of roles are kept only for
    roles in ``existing``. Schemas get the privileges that ``pg_restore --no-privileges`` leaves.
    """
    privileges = details.privileges
    if privileges is not None:
        privileges = (*owner_privileges(current), *(item for item in privileges if not item.grantee))
    schemas = details.schemas
    if schemas is not None:
        schemas = tuple(replace(schema, owner="", privileges=None) for schema in schemas)
    return replace(
        details,
        owner=current,
        owners=(),
        roles=details.policy_roles,
        grantors=(),
        settings=tuple(item for item in details.settings if item.role in existing | {""}),
        privileges=privileges,
        schemas=schemas,
        access=None,
    )


def _with_locale(details: DatabaseDetails, overrides: RestoreOverrides) -> DatabaseDetails:
    libc = overrides.provider == "libc"
    # Another provider sorts and compares text, but libc still needs a locale: "C" exists on every server.
    name, locale = (overrides.locale, None) if libc else ("C", overrides.locale)
    details = replace(details, provider=overrides.provider, icu_rules=None)
    return replace(details, collate=name, ctype=name, locale=locale)
