"""``manage.py list_backups``: list the backups in storage."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser
from dataclasses import replace
from datetime import timedelta
from typing import Any

from igny8_backup.catalog.fleets import read_fleets
from igny8_backup.common.humanize import count_in_words
from igny8_backup.formats.documents.annotations import Annotations
from igny8_backup.formats.documents.run_record import SKIPPED, YIELDED
from igny8_backup.formats.manifest import LOCKED
from igny8_backup.management.backup_text import backup_table, restore_line
from igny8_backup.management.base import BackupCommand
from igny8_backup.management.fleet_text import fleet_table, unfinished_lines
from igny8_backup.management.options.as_of import add_as_of_argument
from igny8_backup.management.options.choose_backups import add_choosing_arguments, chosen_entries
from igny8_backup.management.options.from_storage import add_from_storage_argument
from igny8_backup.management.orphan_text import orphan_lines, orphans_text
from igny8_backup.operations.context import BackupContext, open_context
from igny8_backup.operations.drill.scratch import killed_drills
from igny8_backup.operations.history.read import read_history
from igny8_backup.operations.maintain.orphans import find_orphans

_RECENT = timedelta(days=2)
"""A run that ended early, and made no backup, is listed for this long."""
_WHY_NOT_MADE = {
    LOCKED: "another run held the lock for too long",
    SKIPPED: "the host was still making the backup before it",
    YIELDED: "it ended because another session waited for its locks",
}


class Command(BackupCommand):
    help = "List the backups in storage, newest first. Needs no key."
    examples = (
        "  manage.py list_backups\n"
        "  manage.py list_backups --json       the result as JSON, for scripts\n"
        "  manage.py list_backups --orphans    objects that failed and interrupted runs left in storage\n"
        "  manage.py list_backups --fleets     fleet backups, which several hosts made together\n"
        "  manage.py list_backups --part uploads --since 2026-11-20\n"
        "  manage.py list_backups --from-storage offsite    the backups in a copy"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        text = "List objects that belong to no backup instead."
        parser.add_argument("--orphans", action="store_true", help=text)
        text = "List fleet backups instead: a line for each, not for the part of each host."
        parser.add_argument("--fleets", action="store_true", help=text)
        add_choosing_arguments(parser)
        add_as_of_argument(parser)
        add_from_storage_argument(parser, "List the backups in")
        parser.add_argument("--litter", action="store_true", dest="orphans", help=SUPPRESS)

    def work(self, **options: Any) -> int:
        alias, as_of = options["from_storage"], options["as_of"]
        with (
            self.progress() as shown,
            open_context(progress=shown, storage_alias=alias, as_of=as_of) as context,
        ):
            if options["orphans"]:
                return self._list_orphans(context)
            if options["fleets"]:
                return self._list_fleets(context, options)
            return self._list_backups(context, options)

    def _list_backups(self, context: BackupContext, options: dict[str, Any]) -> int:
        history = read_history(context)
        entries = chosen_entries(history.entries, options)
        annotations, standings = history.annotations, history.standings
        journals, killed = context.journals.all(), killed_drills(context)
        where, now, recent = context.store.describe(), context.clock(), context.clock() - _RECENT
        of_fleets = {entry.manifest.fleet for entry in entries if entry.manifest and entry.manifest.fleet}
        fleets = read_fleets(context.store, context.config.trust, since=recent, ids=of_fleets)
        self.show_json(
            [
                {
                    **vars(item),
                    **vars(annotations.get(item.id, Annotations())),
                    "standings": standings.of_backup(item.id),
                }
                for item in entries
            ]
        )
        if history.entries and not entries:
            self.say(f"None of the {len(history.entries)} in {where} matches --host, --part and --since.")
        elif not entries:
            self.say(f"There is no backup in {where}. Make one: python manage.py backup_all")
        elif not self.json:
            # A line about the whole fleet would mislead where only some of its parts are listed.
            shown = () if options["host"] or options["part"] else fleets
            self.say_text(backup_table(replace(history, entries=entries), shown))
            self.say(f"{count_in_words(len(entries), 'backup')} in {where}")
        self.say(*(restore_line(journal, journals) for journal in journals))
        self.say(*unfinished_lines((one for one in fleets if one.record.started >= recent), now))
        for run in context.catalog.runs(since=recent):
            if run.outcome in _WHY_NOT_MADE:
                self.say(
                    f"NOT MADE: the backup of {', '.join(run.requested)} on host {run.host},"
                    f" {run.started:%Y-%m-%d %H:%M:%S} UTC: {_WHY_NOT_MADE[run.outcome]}."
                )
        for stamp in killed:
            self.say(
                f"KILLED: the drill of {stamp} left its scratch databases and folders. The next drill_backup"
                " or prune_backups removes them."
            )
        gone = history.vanished.texts(where)
        self.warn(*(f"GONE: {text}" for text in gone))
        return 3 if gone else 0

    def _list_fleets(self, context: BackupContext, options: dict[str, Any]) -> int:
        unread: dict[str, str] = {}
        fleets = [
            fleet
            for fleet in read_fleets(
                context.store, context.config.trust, since=options["since"], unread=unread
            )
            if fleet.record.has(host=options["host"], name=options["part"])
        ]
        where, now = context.store.describe(), context.clock()
        self.show_json([{"fleet": fleet.record, "untrusted": fleet.untrusted} for fleet in fleets])
        if not fleets:
            self.say(f"There is no such fleet backup in {where}.")
        elif not self.json:
            self.say_text(fleet_table(fleets, now))
            self.say(f"{count_in_words(len(fleets), 'fleet backup')} in {where}")
        self.say(*unfinished_lines((one for one in fleets if one.record.started >= now - _RECENT), now))
        self.warn(*(f"UNREADABLE: the fleet backup {one}: {why}" for one, why in unread.items()))
        return 3 if unread else 0

    def _list_orphans(self, context: BackupContext) -> int:
        report = find_orphans(context)
        shown = {name: getattr(report, name) for name in ("in_use", "doubtful", "unreadable", "lost")}
        self.show_json({"litter": report.orphans, **shown})
        self.say(*orphan_lines(report, context.clock()))
        self.say(f"{orphans_text(report.orphans)} in {context.store.describe()}")
        return 0
