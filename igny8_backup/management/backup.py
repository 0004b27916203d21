"""The base class of ``backup_all``, ``backup_db`` and ``backup_sites``: their options and output."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from igny8_backup.conf import Config, get_config
from igny8_backup.formats import keys
from igny8_backup.formats.manifest import COMPLETE, DatabasePart, Manifest, TreePart
from igny8_backup.humanize import count_in_words, size_in_words
from igny8_backup.management.base import BackupCommand, add_wait_argument
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import open_context

_SHOWN = 10  # skipped files to list on the terminal; the details of the backup list all of them


class BackupRunCommand(BackupCommand):
    """A command that makes a backup. Subclasses choose what to back up in :meth:`parts`."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--label", default="", help="A label for the backup, for example before-0042.")
        add_wait_argument(parser)
        self.add_ping_argument(parser)

    def add_tree_arguments(self, parser: ArgumentParser) -> None:
        """Add ``--full``, ``--checksum`` and ``--logs``, for commands that back up trees of files."""
        reading = parser.add_mutually_exclusive_group()
        text = "Read and store every file, whether it has changed or not."
        reading.add_argument("--full", action="store_true", help=text)
        text = "Read every file and store what differs. For trees whose file times are unreliable."
        reading.add_argument("--checksum", action="store_true", help=text)
        parser.add_argument("--logs", action="store_true", help="Also back up the trees in LOGS.")

    def parts(self, config: Config, options: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the database aliases and the tree names to back up."""
        raise NotImplementedError

    def work(self, **options: Any) -> int:
        with self.reported(options) as report:
            databases, trees = self.parts(get_config(), options)
            request = BackupRequest(
                databases=databases,
                trees=trees,
                full=options.get("full", False),
                checksum=options.get("checksum", False),
                label=options["label"],
            )
            report.cover(*databases, *trees)
            with open_context(progress=report, writing=True, wait=options["wait"]) as context:
                result = run_backup(context, request)
                where = context.store.describe()
            problems = result.problems(_SHOWN)
            if not result.complete:
                report.fail(*problems, alarms=result.alarms)
        if result.manifest:
            self.show_json({"manifest": result.manifest, "skipped": result.skipped, "whole": result.complete})
            self._show(result.manifest, where)
            self.say(*(f"  not in the backup: {line}" for line in result.left_out(_SHOWN)))
        self.warn(*(f"  {line}" for line in problems))
        return 0 if result.complete else 3

    def _show(self, manifest: Manifest, where: str) -> None:
        for part in manifest.databases:
            if part.object:
                sizes = f"{size_in_words(part.object.raw_bytes)} -> {size_in_words(part.object.stored_bytes)}"
                self.say(f"  database {part.alias}: {sizes}, {_seconds(part)}")
        for tree in manifest.trees:
            if tree.state == COMPLETE:
                own = [pack for pack in tree.packs if keys.pack_writer(keys.pack_of(pack.key)) == manifest.id]
                stored = size_in_words(sum(pack.stored_bytes for pack in own))
                sizes = f"{size_in_words(tree.bytes)} -> {stored}{'' if tree.full else ' added'}"
                excluded = f", {tree.excluded} excluded" if tree.excluded else ""
                files = count_in_words(tree.files, "file")
                self.say(f"  files {tree.name}: {files}, {sizes}, {_seconds(tree)}{excluded}")
        encrypted = "encrypted" if manifest.encrypted else "NOT ENCRYPTED"
        self.say(f"Backup {manifest.id} is in {where} ({size_in_words(manifest.stored_bytes)}, {encrypted}).")


def _seconds(part: DatabasePart | TreePart) -> str:
    return f"{(part.finished - part.started).total_seconds():.1f} s"
