"""``manage.py generate_backup_key``: create the key pairs that backups are encrypted and signed with."""

from __future__ import annotations

import getpass
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from igny8_backup.common.clock import utc_now
from igny8_backup.conf import get_config
from igny8_backup.errors import UsageError
from igny8_backup.management.base import BackupCommand
from igny8_backup.operations.keys.keygen import KeyPairs, make_keys

PASSPHRASE_LENGTH = 12
"""The smallest number of characters of a passphrase."""


class Command(BackupCommand):
    help = (
        "Create two key pairs: the identity (private key) that reads backups, in FILE, and the key that\n"
        "signs them. Print the settings with the public keys."
    )
    examples = (
        "  manage.py generate_backup_key igny8-backup.key\n"
        "  manage.py generate_backup_key igny8-backup.key --signing-key /etc/igny8/signing.key\n"
        "  manage.py generate_backup_key second.key --no-signing-key     only another identity"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        text = "The file to write the identity to. It must not exist."
        parser.add_argument("file", metavar="FILE", type=Path, help=text)
        signing = parser.add_mutually_exclusive_group()
        signing.add_argument(
            "--signing-key",
            metavar="FILE",
            type=Path,
            help="The file to write the signing key to. Default: beside the identity, with -signing in its"
            " name; no new key is created if SIGNING names one.",
        )
        signing.add_argument("--no-signing-key", action="store_true", help="Create no signing key.")
        text = "Ask for a passphrase, and protect the identity file with it."
        parser.add_argument("--passphrase", action="store_true", help=text)

    def work(self, **options: Any) -> int:
        path: Path = options["file"]
        config = get_config()
        signing_path: Path | None = options["signing_key"]
        if not (signing_path or options["no_signing_key"] or config.signing_key):
            signing_path = path.with_name(f"{path.stem}-signing{path.suffix}")
        secret = _ask_new_passphrase() if options["passphrase"] else ""
        made = make_keys(config, path, utc_now(), signing_path, secret)
        self.show_json(made)
        self.say_text(_text(made, path.name))
        return 0


def _ask_new_passphrase() -> str:
    """Ask for a new passphrase twice. Raises ``UsageError`` if the answers differ or are too short."""
    unchanged = "No key was created."
    if not sys.stdin.isatty():
        hint = "Run the command on a terminal."
        raise UsageError("There is no terminal to type a passphrase on.", unchanged=unchanged, hint=hint)
    secret = getpass.getpass("New passphrase: ")
    if len(secret) < PASSPHRASE_LENGTH:
        what = f"The passphrase has fewer than {PASSPHRASE_LENGTH} characters."
        raise UsageError(what, unchanged=unchanged, hint="Choose several random words.")
    if getpass.getpass("Again: ") != secret:
        raise UsageError("The two passphrases differ.", unchanged=unchanged, hint="Run the command again.")
    return secret


def _text(made: KeyPairs, name: str) -> str:
    signing = ""
    entries = [f'    "ENCRYPTION": {{"RECIPIENTS": ["{made.recipient}"]}},']
    if made.signing_key_file:
        entries += [
            f'    "SIGNING": {{"KEY_FILE": "{made.signing_key_file}"}},',
            f'    "TRUSTED": ["{made.public_signing_key}"],',
        ]
        signing = f"""
The signing key (private key) is in {made.signing_key_file}, readable only by you. Its public key is

{made.public_signing_key}
"""
    stays = "\n   The signing key stays on this server. The identity does not.\n" if signing else ""
    settings = "\n".join(entries)
    return f"""The identity (private key) is in {made.identity_file}, readable only by you.
The recipient (public key) is

{made.recipient}
{signing}
1. Put the public keys into the settings of the server that writes backups:

IGNY8_BACKUP = {{
    ...
{settings}
}}
{stays}
2. Move {name} off this server: into the password manager of the company, and onto paper or into a
   second place that the same fire cannot reach. Whoever has it can read every backup; without it nobody can.
   Its comments contain the settings that an empty machine needs to read the backups:

{made.reading_settings}
3. Check the copy that you stored: check_identity --identity FILE, after the first backup."""
