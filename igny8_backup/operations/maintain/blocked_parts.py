"""Whether this host still backs up a part, and what to do if retention must not remove its copies."""

from __future__ import annotations

from igny8_backup.conf import SETTING, Config
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.retention.policy import Part


def is_configured(part: Part, config: Config) -> bool:
    """Return whether this host backs up ``part``."""
    names = config.databases if part.kind == DatabasePart.kind else (*config.sites, *config.logs)
    return part.host == config.host and part.name in names


def is_retired(part: Part, config: Config) -> bool:
    """Return whether the settings of this host say that ``part`` is intentionally no longer backed up."""
    own = part.host == config.host
    return own and not is_configured(part, config) and config.max_age_of(part) is None


def hint(part: Part, config: Config) -> str:
    """Return a hint for a database or tree whose copies cannot be removed at present."""
    name = part.name if part.host == config.host else f"{part.host}/{part.name}"
    retire = f"set {SETTING}['MAX_AGE'] = {{{name!r}: None}}"
    if is_configured(part, config):
        return "Make a good backup of it first: see list_backups"
    if part.host == config.host:
        return f"It is not in the settings any more: to apply the rules to its copies again, {retire}"
    return f"Make a good backup of it first; or, if {part.host} no longer backs it up, {retire}"
