"""``manage.py show_backup``: show one backup in detail, or list its files."""

from __future__ import annotations

import json
import stat
from argparse import ArgumentParser
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from igny8_backup.annotation_store import read_annotations
from igny8_backup.formats.annotations import DRILLED, Annotations
from igny8_backup.formats.details import Details
from igny8_backup.formats.manifest import Manifest
from igny8_backup.humanize import duration_in_words, size_in_words
from igny8_backup.management.base import BackupCommand
from igny8_backup.operations.context import open_context
from igny8_backup.operations.maintain.listing import list_files
from igny8_backup.operations.read_details import read_details
from igny8_backup.trees.model.names import escape
from igny8_backup.trees.model.records import Record, to_json


class Command(BackupCommand):
    help = "Show one backup: its parts and objects, and with --identity also details of the contents."
    examples = (
        "  manage.py show_backup 20261122T021500Z-7f3a9c\n"
        "  manage.py show_backup 20261122T021500Z-7f3a9c --identity igny8-backup.key\n"
        "  manage.py show_backup 20261122T021500Z-7f3a9c --files\n"
        "  manage.py show_backup 20261122T021500Z-7f3a9c --files '*/images/*.png' --identity igny8-backup.key"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("id", metavar="ID", help="An id that list_backups shows.")
        parser.add_argument(
            "--identity",
            type=Path,
            metavar="FILE",
            help="The file with the private key, to show the details.",
        )

        parser.add_argument(
            "--files",
            nargs="?",
            const="",
            metavar="GLOB",
            help="List the files instead: all, or those whose path matches GLOB. With --json, one object a"
            " line. The newest backup of this server needs no key.",
        )

    def work(self, **options: Any) -> int:
        with self.progress() as shown, open_context(progress=shown) as context:
            manifest = context.catalog.get(options["id"])
            identities = context.identities(options["identity"], needed=options["identity"] is not None)
            if options["files"] is not None:
                self.show_lines(map(self._line, list_files(context, manifest, options["files"], identities)))
                return 0
            readable = identities or not manifest.encrypted
            details = read_details(context, manifest, identities) if readable else None
            annotations = read_annotations(context.store, manifest.id).get(manifest.id, Annotations())
        self.show_json({"manifest": manifest, "details": details, **vars(annotations)})
        self._show(manifest)
        self._show_annotations(annotations)
        if details:
            self._show_details(details)
        else:
            self.say("The details are encrypted. Give --identity FILE to see them.")
        return 0

    def _line(self, found: tuple[str, Record]) -> str:
        tree, record = found
        if self.json:
            return json.dumps({"tree": tree, **to_json(record)})
        kind = {"dir": stat.S_IFDIR, "symlink": stat.S_IFLNK}.get(record.kind, stat.S_IFREG)
        changed = datetime.fromtimestamp(record.mtime_ns // 10**9, UTC)
        arrow = {"symlink": " -> ", "hardlink": " = "}.get(record.kind, "")
        return (
            f"{stat.filemode(kind | record.mode)} {record.size:>12} {changed:%Y-%m-%d %H:%M:%S}"
            f" {tree}/{escape(record.path)}{arrow}{escape(record.target)}"
        )

    def _show(self, manifest: Manifest) -> None:
        seconds = (manifest.finished - manifest.started).total_seconds()
        self.say(f"Backup {manifest.id}{f' ({manifest.label})' if manifest.label else ''}")
        self.say(f"  host {manifest.host}, environment {manifest.environment}, took {seconds:.0f} s")
        self.say("  " + ", ".join(f"{name} {version}" for name, version in manifest.software.items()))
        for part in manifest.databases:
            versions = (
                f"server {part.server_version}, dumped by {part.dump_version}" if part.object else part.error
            )
            self.say(f"  database {part.alias}: {part.state}, {part.engine}, {versions}")
        for tree in manifest.trees:
            counts = (
                f"{tree.files} files, {tree.directories} folders, {tree.links} links, {tree.skipped} skipped"
                f"{f', {tree.excluded} excluded' if tree.excluded else ''}"
            )
            self.say(
                f"  files {tree.name} ({tree.role}): {tree.state}, {counts if not tree.error else tree.error}"
            )
        for item in manifest.objects():
            self.say(f"    {size_in_words(item.stored_bytes):>10}  {item.sha256[:16]}  {item.key}")

    def _show_annotations(self, annotations: Annotations) -> None:
        if annotations.pin:
            self.say(f"  pinned {annotations.pin.pinned:%Y-%m-%d}: {annotations.pin.reason}")
        for check in annotations.checks:
            result = f"{len(check.damage)} DAMAGED" if check.damage else "no damage"
            read = f"{check.read} of {check.objects} objects read"
            if check.depth == DRILLED:
                read += f", restored in {duration_in_words(check.finished - check.started, units=2)}"
            self.say(f"  {check.depth} checked {check.started:%Y-%m-%d %H:%M} UTC: {result}, {read}")
            for item in check.damage:
                self.say(f"    {item.kind}: {item.key}")

    def _show_details(self, details: Details) -> None:
        for database in details.databases:
            extensions = ", ".join(f"{name} {version}" for name, version in database.extensions.items())
            self.say(f"  {database.alias}: {len(database.tables)} tables, {size_in_words(database.size)}")
            if database.owner:
                self.say(f"    owner {database.owner}, {database.encoding}, {database.collate}; {extensions}")
            if database.excluded_data:
                self.say(f"    without the rows of {', '.join(database.excluded_data)}")
            for probe in database.probes:
                answer = " / ".join(
                    ", ".join("NULL" if value is None else value for value in row) for row in probe.rows
                )
                self.say(f"    {probe.name}: {answer}")
        for item in details.skipped:
            self.say(f"  {item.tree}: {item.path}: {item.reason}")
        for name, text in details.errors.items():
            self.say(f"  {name} failed: {text}")
