"""``manage.py generate_signing_key``: create the key that a host signs its backups with."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from igny8_backup.conf import get_config
from igny8_backup.management.base import BackupCommand
from igny8_backup.operations.keys.keygen import make_signing_key


class Command(BackupCommand):
    help = "Create a signing key: write the private key to FILE, print the public key."
    examples = "  manage.py generate_signing_key /etc/igny8/backup-signing-key"

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        text = "The file to write the private key to. It must not exist."
        parser.add_argument("file", metavar="FILE", type=Path, help=text)

    def work(self, **options: Any) -> int:
        path: Path = options["file"]
        line = f"{make_signing_key(path)} {get_config().host}"
        self.show_json({"key_file": str(path.resolve()), "public_key": line})
        self.say_text(f"""The private key is in {path.resolve()}, readable only by you. The public key is

{line}

1. On the server that writes backups, set

IGNY8_BACKUP = {{
    ...
    "SIGNING": {{"KEY_FILE": "{path.resolve()}"}},
}}

2. Wherever backups are restored, verified, drilled or pruned, this server included, set

IGNY8_BACKUP = {{
    ...
    "TRUSTED": ["{line}"],
}}

3. Keep the public key with the identity of your backups: an empty machine needs both on the worst day.
4. Sign the backups that exist already: sign_backups.""")
        return 0
