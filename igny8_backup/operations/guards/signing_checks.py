"""Warn if the backups of this host are not signed, or if the settings allow unsigned backups (W020)."""

from __future__ import annotations

from igny8_backup.conf import SETTING, Config, Problem
from igny8_backup.errors import IdentityError
from igny8_backup.operations.guards.preconditions import make_problem
from igny8_backup.signing import signing_key
from igny8_backup.signing.trust import MANIFEST, part_token

_PAGE = 'see "Sign backups" in the documentation.'


def problems(config: Config) -> list[Problem]:
    """Return W020 if signing is off, is only half set up, or if the key of this host is not trusted.

    With DEBUG on, no problem is returned.
    """
    if config.debug:
        return []
    if config.signing_key is None and not config.trust.required:
        return [
            _warning(
                "Backups are not signed: whoever may write to the storage could put a backup of their own"
                " there, and a restore would run what it contains.",
                f"Create a key with generate_signing_key FILE, and set SIGNING and TRUSTED: {_PAGE}",
            )
        ]
    if config.signing_key is None:
        return [
            _warning(
                "TRUSTED is set and SIGNING is not: the backups of this host would not be signed, and could"
                " not be restored without --accept-unsigned.",
                f"Create a key with generate_signing_key FILE, and set {SETTING}['SIGNING']. On a machine"
                " that makes no backups, silence this check.",
            )
        ]
    if not config.trust.required:
        return [
            _warning(
                "SIGNING is set and TRUSTED is not: backups of this host are signed, but a forged backup"
                " would be read too.",
                f"Set {SETTING}['TRUSTED'] to the public keys of your hosts: {_PAGE}",
            )
        ]
    return _untrusted_key(config)


def _untrusted_key(config: Config) -> list[Problem]:
    """Return W020 if the key that this host signs with cannot be used, or is not in ``TRUSTED``."""
    if config.signing_key is None:
        return []
    try:
        key = signing_key.load(config.signing_key)
    except IdentityError as error:
        what, _, hint = error.parts
        return [_warning(f"The next backup would fail: {what}", hint)]
    parts = [part_token("database", alias) for alias in config.databases]
    parts += [part_token("files", name) for name in (*config.sites, *config.logs)]
    if not (reason := config.trust.refusal(key.public, MANIFEST, config.host, parts)):
        return []
    return [
        _warning(
            f"The key in SIGNING would not be trusted for the backups of this host: {reason}.",
            f"Add {key.public_line} to {SETTING}['TRUSTED'], or correct its entry.",
        )
    ]


def _warning(message: str, hint: str) -> Problem:
    return make_problem("W020", message, hint)
