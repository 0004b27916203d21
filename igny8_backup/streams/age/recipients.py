"""Read recipients: public keys from the settings. Backups are encrypted to these keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyrage
from pyrage import ssh, x25519

from igny8_backup.errors import UsageError
from igny8_backup.streams.age import plugins

SECRET_MARK = "AGE-SECRET-KEY-"  # noqa: S105 - the prefix of a secret
HINT = "Copy the recipient that generate_backup_key printed. It is also in the identity file."


def parse_recipients(texts: Sequence[str]) -> tuple[str, ...]:
    """Check public keys; return them without surrounding blanks, and SSH keys without their comments.

    Raises ``UsageError`` if a key is invalid; the message names it.
    """
    return tuple(text for text, _ in _parse(texts))


def make_recipients(texts: Sequence[str]) -> list[Any]:
    """Return the recipients of pyrage for public keys. Raises ``UsageError``, which names an invalid key."""
    return [recipient for _, recipient in _parse(texts)]


def _parse(texts: Sequence[str]) -> list[tuple[str, Any]]:
    return [
        _parse_one(text.strip(), f"recipient {number} of {len(texts)}")
        for number, text in enumerate(texts, start=1)
    ]


def _parse_one(text: str, place: str) -> tuple[str, Any]:
    if SECRET_MARK in text.upper() or "AGE-PLUGIN-" in text.upper() or "PRIVATE KEY" in text:
        raise UsageError(
            f"A secret key is given as {place}: a server that writes backups must not hold it.",
            hint="Give the public key (age1...) of a new pair, and treat this one as exposed.",
        )
    kind, _, rest = text.partition(" ")
    if kind in ("ssh-ed25519", "ssh-rsa"):
        text = f"{kind} {rest.split()[0] if rest.split() else ''}"
        return text, _made(ssh.Recipient.from_str, text, f"{text}, {place}, is not a valid SSH recipient")
    if not text.startswith("age1"):
        raise UsageError(
            f"The text given as {place} is not an age recipient: those begin with age1, ssh-ed25519 or"
            " ssh-rsa.",
            hint=HINT,
        )
    # In Bech32 the last 1 ends the prefix: "age", or "age1" and the name of a plugin.
    prefix = text.rpartition("1")[0]
    if prefix != "age" and "1" not in prefix.removeprefix("age1"):
        return text, plugins.make_recipient(text, place)
    return text, _made(x25519.Recipient.from_str, text, f"{text}, {place}, is not a valid X25519 recipient")


def _made(make: Any, text: str, what: str) -> Any:
    try:
        return make(text)
    except pyrage.RecipientError:
        raise UsageError(f"{what}: it is mistyped or incomplete.", hint=HINT) from None
