"""``manage.py generate_backup_key``: a key pair for backups."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from igny8_backup.management.base import BackupCommand
from igny8_backup.operations.context import utc_now
from igny8_backup.operations.keygen import make_key


class Command(BackupCommand):
    help = "Make a key pair: the identity (private key) goes to FILE, the recipient (public key) is printed."
    examples = "  manage.py generate_backup_key igny8-backup.key"

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "file", metavar="FILE", type=Path, help="Where to write the identity; must not exist."
        )

    def work(self, **options: Any) -> int:
        path: Path = options["file"]
        recipient = make_key(path, utc_now())
        self.show_json({"identity_file": str(path.resolve()), "recipient": recipient})
        self.say(f"""The identity (private key) is in {path.resolve()}, readable by you alone.
The recipient (public key) is

{recipient}

1. On the server that writes backups, put the recipient, and only that, into the settings:

IGNY8_BACKUP = {{
    ...
    "ENCRYPTION": {{"RECIPIENTS": ["{recipient}"]}},
}}

2. Move {path.name} off this server: into the password manager of the company, and onto paper or a second
   place that does not burn with the first. Whoever has it can read every backup; without it nobody can.
3. Prove that you have it: restore_all --dry-run --identity FILE, from the copy that you stored.""")
        return 0
