"""``manage.py rotate_recipients``: give existing backups the recipients of the settings."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from igny8_backup.common.humanize import count_in_words, size_in_words
from igny8_backup.management.base import BackupCommand
from igny8_backup.management.confirm import require_typed
from igny8_backup.management.options.from_storage import add_from_storage_argument
from igny8_backup.management.options.wait import add_wait_argument, wait_of
from igny8_backup.operations.context import open_context
from igny8_backup.operations.rotate.plan import KEPT_COPIES, RotationPlan, plan_rotation
from igny8_backup.operations.rotate.run import RotationResult, rotate


class Command(BackupCommand):
    help = "Change the recipients of existing backups, without encrypting the data again."
    examples = (
        "  manage.py rotate_recipients --identity old.key --dry-run    show what would be done\n"
        "  manage.py rotate_recipients --identity old.key              all backups\n"
        "  manage.py rotate_recipients --identity old.key 20261122T021500Z-7f3a9c\n"
        "  manage.py rotate_recipients --identity old.key --from-storage offsite    the backups in a copy"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        text = "An id that list_backups shows. Backups that share packs with it change too. Default: all."
        parser.add_argument("ids", nargs="*", metavar="ID", help=text)
        text = "The file with a private key of the old recipients. Default: the setting IDENTITY_FILE."
        parser.add_argument("--identity", type=Path, metavar="FILE", help=text)
        add_from_storage_argument(parser, "Change the backups in")
        text = "Do not ask for confirmation."
        parser.add_argument("--noinput", action="store_false", dest="interactive", help=text)
        exclusive = parser.add_mutually_exclusive_group()
        text = "Show what would be done, and change nothing."
        exclusive.add_argument("--dry-run", action="store_true", help=text)
        add_wait_argument(exclusive)

    def work(self, **options: Any) -> int:
        file, ids = options["identity"], tuple(options["ids"])
        where = {"storage_alias": options["from_storage"], "changing": True}
        with (
            self.progress() as shown,
            open_context(progress=shown, wait=wait_of(options), **where) as context,
        ):
            if not options["dry_run"]:
                context = context.when_free("rotating recipients")
            plan, _ = plan_rotation(context, file, ids)
            result = RotationResult(rotated=(), left=plan.left, refused=plan.refused)
            go_on = self.show_plan(plan, _plan_text(plan), _json(plan, result), dry_run=options["dry_run"])
            if go_on and plan.groups:
                self._confirm(plan, options)
                result = rotate(context, plan, file, ids)
        if go_on:
            self.show_json(_json(plan, result))
            self.say(f"{count_in_words(len(result.rotated), 'backup')} rotated.")
            if result.rotated:
                self.say(
                    "The old objects are orphans: prune_backups marks them, and removes them a day later.",
                    "The next backup of each tree stores every file again.",
                    "Verify the backups: verify_backup.",
                )
        self.warn(*result.problems())
        return 3 if result.refused else 0

    def _confirm(self, plan: RotationPlan, options: dict[str, Any]) -> None:
        if options["interactive"]:
            word = f"rotate {len(plan.ids)}"
            question = f"Type {word} to change the recipients of these backups: "
            require_typed(self, options, word, question=question, what="Changing the recipients of backups")


def _plan_text(plan: RotationPlan) -> Iterator[str]:
    yield f"Recipients from the settings: {', '.join(plan.recipients)}"
    for group in plan.groups:
        size = f"{count_in_words(group.objects, 'object')}, {size_in_words(group.bytes)}"
        yield f"ROTATE  {', '.join(group.ids)}  {size}"
    for backup_id, reason in plan.left.items():
        yield f"LEAVE   {backup_id}  {reason}"
    if plan.groups:
        yield (
            f"{size_in_words(plan.bytes)} will be read and stored again. Until prune_backups removes the old"
            " objects, the storage needs space for both."
        )
        yield KEPT_COPIES


def _json(plan: RotationPlan, result: RotationResult) -> dict[str, Any]:
    return {"plan": plan, **vars(result)}
