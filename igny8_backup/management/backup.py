"""The base class of ``backup_all``, ``backup_db`` and ``backup_sites``: their options and output."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from igny8_backup.common.humanize import count_in_words, size_in_words
from igny8_backup.conf import Config, get_config
from igny8_backup.formats import keys
from igny8_backup.formats.chunked import DIFFERENTIAL, FULL
from igny8_backup.formats.manifest import COMPLETE, Manifest
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.management.base import BackupCommand, seconds
from igny8_backup.management.copies import copy_lines
from igny8_backup.management.options.wait import add_wait_argument, wait_of
from igny8_backup.operations.backup.request import WHOLE_DUMP, BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import open_context
from igny8_backup.operations.copies.run import copy_after_run
from igny8_backup.operations.status.refresh import refreshing_status

_SHOWN = 10  # skipped files to list on the terminal; the details of the backup list all of them


class BackupRunCommand(BackupCommand):
    """A command that makes a backup. Subclasses choose what to back up in :meth:`parts`."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--label", default="", help="A label for the backup, for example before-0042.")
        add_wait_argument(parser, unattended=True)
        text = "Make no backup, and report no failure, if this host is making the same backup already."
        parser.add_argument("--skip-if-running", action="store_true", help=text)
        self.add_ping_argument(parser)

    def add_tree_arguments(self, parser: ArgumentParser) -> None:
        """Add ``--full``, ``--checksum`` and ``--logs``, for commands that back up trees of files."""
        reading = parser.add_mutually_exclusive_group()
        text = "Read and store every file, whether it has changed or not."
        reading.add_argument("--full", action="store_true", help=text)
        text = "Read every file and store what differs. For trees whose file times are unreliable."
        reading.add_argument("--checksum", action="store_true", help=text)
        parser.add_argument("--logs", action="store_true", help="Also back up the trees in LOGS.")

    def add_dump_arguments(self, parser: ArgumentParser) -> None:
        """Add ``--whole``, ``--full`` and ``--differential``, for commands that back up databases only."""
        kinds = parser.add_mutually_exclusive_group()
        for kind, text in (
            (WHOLE_DUMP, "Store each dump as one object, not in chunks (CHUNKED_DUMPS)."),
            (FULL, "Of dumps in chunks: store all chunks again."),
            (DIFFERENTIAL, "Of dumps in chunks: store all that changed since the full dump."),
        ):
            kinds.add_argument(
                f"--{kind}", action="store_const", const=kind, dest="dump_kind", default="", help=text
            )

    def add_yield_argument(self, parser: ArgumentParser) -> None:
        """Add ``--yield-after``, for commands that back up databases."""
        text = "End the run if another session has waited this long for a table. Default: YIELD_AFTER."
        parser.add_argument("--yield-after", type=seconds, metavar="SECONDS", help=text)

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
                dump_kind=options.get("dump_kind", ""),
                yield_after=options.get("yield_after"),
                skip_if_running=options["skip_if_running"],
            )
            report.cover(*databases, *trees)
            with open_context(progress=report, writing=True, wait=wait_of(options)) as opened:
                with refreshing_status(opened) as context:
                    result = run_backup(context, request)
                    copies = copy_after_run(context, result)
                where = opened.store.describe()
            problems = result.problems(_SHOWN) + copies.problems()
            if result.earlier:
                report.suppress()  # the run that goes on reports the backup
                self.show_json({"earlier": result.earlier.id})
            if problems:
                report.fail(*problems, alarms=[*result.alarms, *copies.alarms])
        if result.manifest:
            excluded = {tree.name: tree.newly_excluded for tree in result.trees if tree.newly_excluded}
            self.show_json(
                {
                    "manifest": result.manifest,
                    "skipped": result.skipped,
                    "newly_excluded": excluded,
                    "suspects": result.suspects,
                    "whole": result.whole,
                    "warnings": [item.text for item in result.shortfalls],
                    "copies": copies.copies,
                }
            )
            self._show(result.manifest, where)
            self.say(*(f"  not in the backup: {line}" for line in result.left_out(_SHOWN)))
        self.say(*(line for copy in copies.copies for line in copy_lines(copy)))
        self.warn(*(f"  {line}" for line in problems))
        return 0 if result.complete and copies.complete else 3

    def _show(self, manifest: Manifest, where: str) -> None:
        for part in manifest.databases:
            if part.object:
                own = [item for item in part.objects() if keys.writer(item.key) == manifest.id]
                stored = size_in_words(sum(item.stored_bytes for item in own))
                kind = f" added ({part.chunked.kind})" if part.chunked else ""
                sizes = f"{size_in_words(part.bytes)} -> {stored}{kind}"
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
