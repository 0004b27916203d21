"""``manage.py extract_backup``: write a backup, or part of it, to a new database or folder."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from igny8_backup.management.base import BackupCommand, accepted
from igny8_backup.management.confirm import confirm_vulnerable
from igny8_backup.management.extract import (
    add_extract_options,
    archive_lines,
    archive_request,
    plan_as_json,
    plan_lines,
    result_lines,
)
from igny8_backup.management.restore.options import overrides_from_options
from igny8_backup.operations.context import open_context
from igny8_backup.operations.extract.archive import extract_archive
from igny8_backup.operations.extract.plan import ExtractRequest, plan_extract, run_extract


class Command(BackupCommand):
    help = (
        "Extract a backup, or part of it, into a new database or a new folder.\n"
        "Nothing live is changed, and the application may keep running."
    )
    examples = (
        "  manage.py extract_backup --to-database igny8_copy                  the whole database\n"
        "  manage.py extract_backup --to-database rows --table billing_plan   one table, to copy rows from\n"
        "  manage.py extract_backup --to-database igny8_copy --migrate        with the schema of the code\n"
        "  manage.py extract_backup --to-database igny8_copy --skip-damaged   what a damaged dump still has\n"
        "  manage.py extract_backup --archive /data/found.dump                the dump as a file\n"
        "  manage.py extract_backup --to-dir /data/found                      all trees of files\n"
        "  manage.py extract_backup --to-dir /data/found --path example.com   the folder of one site\n"
        "  manage.py extract_backup 20261122T021500Z-7f3a9c --to-dir /data/found --only logs --dry-run"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        add_extract_options(parser)

    def work(self, **options: Any) -> int:
        if options["archive"]:
            return self._write_archive(options)
        request = ExtractRequest(
            backup_id=options["id"] or "",
            only=options["only"],
            from_host=options["from_host"] or "",
            identity_file=options["identity"],
            to_database=options["to_database"] or "",
            to_dir=options["to_dir"],
            paths=tuple(options["path"]),
            tables=tuple(options["table"]),
            migrate=options["migrate"],
            sanitize=options["sanitize"],
            skip_damaged=options["skip_damaged"],
            keep_personal_data=options["keep_personal_data"],
            allow_set_id=options["allow_set_id"],
            assume_space=options["assume_space"],
            ignore_space=options["ignore_space"],
            overrides=overrides_from_options(options),
        )
        alias = options["from_storage"]
        with (
            self.progress() as shown,
            open_context(
                progress=shown,
                storage_alias=alias,
                healing=True,
                accept=accepted(options),
                as_of=options["as_of"],
            ) as context,
        ):
            plan = plan_extract(context, request)
            if not self.show_plan(plan, plan_lines(plan), plan_as_json(plan), dry_run=options["dry_run"]):
                return 0
            confirm_vulnerable(self, plan, {**options, "interactive": True})
            result = run_extract(context, plan)
        self.show_json(result)
        self.say(*result_lines(result))
        self.warn(*(f"WARNING: {warning}" for warning in result.warnings))
        return 3 if result.warnings else 0

    def _write_archive(self, options: dict[str, Any]) -> int:
        request, storage = archive_request(options), options["from_storage"]
        accept, moment = accepted(options), options["as_of"]
        with (
            self.progress() as shown,
            open_context(progress=shown, storage_alias=storage, accept=accept, as_of=moment) as context,
        ):
            result = extract_archive(context, request)
        self.show_json(result)
        self.say(*archive_lines(result))
        return 0
