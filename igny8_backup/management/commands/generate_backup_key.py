"""``manage.py generate_backup_key``: create the key pair that backups are encrypted with."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from igny8_backup.management.base import BackupCommand
from igny8_backup.operations.context import utc_now
from igny8_backup.operations.keygen import make_key


class Command(BackupCommand):
    help = "Create a key pair: write the identity (private key) to FILE, print the recipient (public key)."
    examples = "  manage.py generate_backup_key igny8-backup.key"

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        text = "The file to write the identity to. It must not exist."
        parser.add_argument("file", metavar="FILE", type=Path, help=text)

    def work(self, **options: Any) -> int:
        path: Path = options["file"]
        recipient = make_key(path, utc_now())
        self.show_json({"identity_file": str(path.resolve()), "recipient": recipient})
        self.say_text(f"""The identity (private key) is in {path.resolve()}, readable only by you.
The recipient (public key) is

{recipient}

1. On the server that writes backups, put the recipient, and nothing else, into the settings:

IGNY8_BACKUP = {{
    ...
    "ENCRYPTION": {{"RECIPIENTS": ["{recipient}"]}},
}}

2. Move {path.name} off this server: into the password manager of the company, and onto paper or into a
   second place that the same fire cannot reach. Whoever has it can read every backup; without it nobody can.
3. Check the copy that you stored: restore_all --dry-run --identity FILE.""")
        return 0
