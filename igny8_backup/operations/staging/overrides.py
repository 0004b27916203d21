"""Restore a database with differences from the backup: without its owners, or with another locale."""

from __future__ import annotations

from dataclasses import dataclass, replace

from igny8_backup.databases.capabilities import Capability
from igny8_backup.databases.engine import Engine
from igny8_backup.formats.details import DatabaseDetails, Privilege

PROVIDERS = ("libc", "icu", "builtin")


@dataclass(frozen=True, kw_only=True)
class RestoreOverrides:
    """Differences from the backup. ``owners``: restore owners and privileges. ``locale``: empty for the
    recorded one. ``provider``: the locale provider of ``locale`` (PostgreSQL documentation, CREATE DATABASE).
    """

    owners: bool = True
    locale: str = ""
    provider: str = "libc"


def apply_overrides(
    engine: Engine, details: DatabaseDetails, overrides: RestoreOverrides
) -> tuple[DatabaseDetails, tuple[str, ...]]:
    """Apply ``overrides`` to the details of a backup; return the new details and notes on what will differ.

    Raises ``UsageError`` if the engine has no owners and no locales.
    """
    if overrides == RestoreOverrides():
        return details, ()
    engine.require(
        Capability.OVERRIDE, unchanged="Nothing was changed.", hint="Remove --no-owner and --locale."
    )
    notes = []
    if not overrides.owners:
        current, known = engine.roles()
        details = _without_owners(details, current, known)
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


def _without_owners(details: DatabaseDetails, current: str, known: frozenset[str]) -> DatabaseDetails:
    """Keep the database's privileges of PUBLIC and the settings of roles that exist here, and give the role
    ``current`` the privileges of an owner."""
    privileges = details.privileges
    if privileges is not None:
        own = (
            Privilege(grantee=current, privilege=name, grantable=False)
            for name in ("CONNECT", "CREATE", "TEMPORARY")
        )
        privileges = (*own, *(item for item in privileges if not item.grantee))
    return replace(
        details,
        owner=current,
        owners=(),
        roles=details.policy_roles,
        settings=tuple(item for item in details.settings if item.role in known | {""}),
        privileges=privileges,
    )


def _with_locale(details: DatabaseDetails, overrides: RestoreOverrides) -> DatabaseDetails:
    if overrides.provider == "libc":
        return replace(
            details,
            provider="libc",
            collate=overrides.locale,
            ctype=overrides.locale,
            locale=None,
            icu_rules=None,
        )
    # The provider sorts and compares text. libc still needs a locale, one that exists on every server.
    return replace(
        details, provider=overrides.provider, collate="C", ctype="C", locale=overrides.locale, icu_rules=None
    )
