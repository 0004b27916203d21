"""``manage.py show_backup``: show one backup in detail, or list its files."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from igny8_backup.catalog.fleets import Fleet, read_fleet
from igny8_backup.errors import UsageError
from igny8_backup.formats import keys
from igny8_backup.formats.documents.annotations import Annotations
from igny8_backup.formats.manifest import Manifest
from igny8_backup.management.backup_text import (
    annotation_lines,
    details_lines,
    file_line,
    manifest_lines,
    standing_lines,
)
from igny8_backup.management.base import BackupCommand, accepted, add_identity_argument
from igny8_backup.management.fleet_text import fleet_lines
from igny8_backup.management.options.as_of import add_as_of_argument
from igny8_backup.management.options.from_storage import add_from_storage_argument
from igny8_backup.management.sharing_text import sharing_lines
from igny8_backup.operations.context import BackupContext, open_context
from igny8_backup.operations.history.read import read_history
from igny8_backup.operations.maintain.listing import list_files
from igny8_backup.operations.maintain.sharing import shared_objects
from igny8_backup.operations.read.details import read_details
from igny8_backup.trees.model.records import Record, to_json


class Command(BackupCommand):
    help = "Show one backup: databases, trees and objects, and with --identity also details of the contents."
    examples = (
        "  manage.py show_backup 20261122T021500Z-7f3a9c\n"
        "  manage.py show_backup 20261122T021500Z-7f3a9c --identity igny8-backup.key\n"
        "  manage.py show_backup 20261122T021500Z-7f3a9c --files\n"
        "  manage.py show_backup 20261122T021500Z-7f3a9c --files '*/images/*.png' --identity igny8-backup.key"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("id", metavar="ID", help="An id of a backup or fleet backup: see list_backups.")
        add_identity_argument(parser, ", to show the details")
        add_as_of_argument(parser)
        add_from_storage_argument(parser, "Show the backup in")
        text = (
            "List the files instead: all, or those whose path matches GLOB. With --json, one object a line."
            " The newest backup of this server needs no key."
        )
        parser.add_argument("--files", nargs="?", const="", metavar="GLOB", help=text)

    def work(self, **options: Any) -> int:
        with (
            self.progress() as shown,
            open_context(
                progress=shown,
                storage_alias=options["from_storage"],
                accept=accepted(options),
                as_of=options["as_of"],
            ) as context,
        ):
            manifest = _find(context, options["id"])
            if isinstance(manifest, Fleet):
                return self._show_fleet(context, manifest, options)
            identities = context.identities(options["identity"], needed=options["identity"] is not None)
            if options["files"] is not None:
                self.show_lines(map(self._line, list_files(context, manifest, options["files"], identities)))
                return 0
            readable = identities or not manifest.encrypted
            details = read_details(context, manifest, identities) if readable else None
            history = read_history(context)
        annotations = history.annotations.get(manifest.id, Annotations())
        standings = history.standings.of_backup(manifest.id)
        sharing = shared_objects(manifest, history)
        self.show_json(
            {
                "manifest": manifest,
                "details": details,
                **vars(annotations),
                "standings": standings,
                "sharing": sharing,
            }
        )
        self.say(*manifest_lines(manifest), *annotation_lines(manifest, annotations))
        self.say(*standing_lines(standings), *sharing_lines(sharing))
        if details is None:
            self.say("The details are encrypted. Give --identity FILE to see them.")
        else:
            self.say(*details_lines(details))
        return 0

    def _show_fleet(self, context: BackupContext, fleet: Fleet, options: dict[str, Any]) -> int:
        if options["files"] is not None:
            raise UsageError(
                f"{fleet.record.id} is a fleet backup, which has no files of its own.",
                unchanged="Nothing was read.",
                hint=f"Give the id of the part of one host: show_backup {fleet.record.id} lists them.",
            )
        self.show_json({"fleet": fleet.record, "untrusted": fleet.untrusted})
        self.say(*fleet_lines(fleet, context.clock()))
        return 0

    def _line(self, found: tuple[str, Record]) -> str:
        tree, record = found
        return json.dumps({"tree": tree, **to_json(record)}) if self.json else file_line(tree, record)


def _find(context: BackupContext, backup_id: str) -> Manifest | Fleet:
    """Return the backup or the fleet backup of this id. Raises ``UsageError`` if there is none."""
    try:
        return context.catalog.get(backup_id)
    except UsageError:
        fleet = None
        if keys.is_id(backup_id):
            fleet = read_fleet(context.store, context.config.trust, backup_id)
        if fleet is None:
            raise
        return fleet
