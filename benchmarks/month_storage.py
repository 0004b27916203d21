"""``python -m benchmarks.month_storage``: bytes in storage after a month of hourly backups, beside restic's.

A scaled-down database is changed and backed up every hour of a simulated month, by this package as dumps in
chunks and by restic from a pipe, and both are pruned once a day by the same retention. In the end, backups of
both are restored and compared with the database as it was.
"""

from __future__ import annotations

import json
import shutil
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

from benchmarks import options as common
from benchmarks import report
from benchmarks.database_checks import DumpCheck
from benchmarks.machine import facts, versions_of
from benchmarks.measure import say
from benchmarks.month import FIRST, PRUNED_AT
from benchmarks.month_edits import edits
from benchmarks.month_keepers import Keeper, Ours, Restic, set_up_django
from benchmarks.options import QUICK, TWENTIETH
from benchmarks.project import Project
from benchmarks.server import KeptServer

GOAL = 0.4


def retention(every: int) -> dict[str, int]:
    """Return the rules of the page "Back up every hour", whose hours are two days, for other periods too."""
    return {"last": 3, "hourly": 48 // every, "daily": 14, "weekly": 8, "monthly": 12}


@dataclass
class Found:
    """The bytes in storage at the end of each day by the title of the program, and the number of restores."""

    days: list[dict[str, int]] = field(default_factory=list)
    backups: int = 0
    restored: dict[str, int] = field(default_factory=dict)

    def ratios(self) -> list[float]:
        """Return the bytes of ours as a share of those of restic, for each day."""
        return [day[Ours.title] / day[Restic.title] for day in self.days]


def live(server: KeptServer, name: str, keepers: Sequence[Keeper], days: int, every: int) -> Iterator[int]:
    """Change the database and back it up every ``every`` hours; yield the hour after each run."""
    with server.connect(name) as connection:
        for hour in range(0, 24 * days, every):
            a_day = 24 // every
            for statement in edits(hour // every, a_day=a_day, column_at=days * a_day // 2):
                connection.execute(statement.encode())
            now = FIRST + timedelta(hours=hour)
            for keeper in keepers:
                keeper.backup(now)
                if PRUNED_AT <= hour % 24 < PRUNED_AT + every:
                    keeper.prune(now + timedelta(minutes=20))
            yield hour


def measured(options: Namespace) -> Found:
    """Simulate the month; return what was stored. Raises ``RunFailed`` if a restored dump is wrong."""
    scale, days, every = QUICK if options.quick else TWENTIETH, options.days, options.every
    source, name = f"benchmark_{scale}", f"month_{scale}"
    with common.work_folder(options) as work, KeptServer(options.postgresql, work) as server:
        server.database(source, scale)
        server.drop_database(name)
        server.create_database(name, template=source)
        url = server.url(name)
        project = Project(work / "month", database_url=url, bin_dir=server.bin_dir, sites=work / "no-sites")
        project.environment |= {
            "DJANGO_SETTINGS_MODULE": "benchmarks.chunk_settings",
            "RESTIC_PASSWORD": "of no use elsewhere",
            "TZ": "UTC",  # restic takes dates in local time
        }
        try:
            rules = retention(every)
            set_up_django(project, {"RETENTION": rules, "JOBS": 1})
            plain = (server.bin_dir / "pg_dump", "--format=custom", "--compress=0", f"--dbname={url}")
            keepers = [kind(project, plain, rules) for kind in (Ours, Restic)]
            checks: dict[datetime, DumpCheck] = {}
            found = Found()
            for hour in live(server, name, keepers, days, every):
                checks[_to_the_hour(FIRST) + timedelta(hours=hour)] = DumpCheck(
                    server, name, project.environment
                )
                if hour % 24 + every >= 24:
                    found.days.append({keeper.title: keeper.stored() for keeper in keepers})
                    said = ", ".join(f"{size / 1e6:,.1f} MB" for size in found.days[-1].values())
                    say(f"  day {hour // 24 + 1}: {said} ({found.ratios()[-1]:.3f})")
            found.backups = len(checks)
            for keeper in keepers:
                found.restored[keeper.title] = restore(keeper, checks, options.restores)
            return found
        finally:
            shutil.rmtree(project.folder, ignore_errors=True)
            server.drop_database(name)


def restore(keeper: Keeper, checks: Mapping[datetime, DumpCheck], most: int) -> int:
    """Decode at most ``most`` of the kept backups, and compare each with the database as it was."""
    kept = list(keeper.kept().items())
    step = max((len(kept) - 1) / max(most - 1, 1), 1)
    chosen = sorted({min(round(number * step), len(kept) - 1) for number in range(most)})
    say(f"{keeper.title}: {len(kept)} backups are kept, {len(chosen)} are restored ...")
    for number in chosen:
        moment, backup_id = kept[number]
        checks[_to_the_hour(moment)].check(keeper.archive(backup_id))
    return len(chosen)


def _to_the_hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def table(found: Found) -> str:
    """Return the bytes at the end of each day, their ratio, and the goal."""
    lines = [
        "### Bytes in storage after hourly backups",
        "",
        "| | ours MB | restic MB | ratio |",
        "|---|---|---|---|",
    ]
    for number, (day, ratio) in enumerate(zip(found.days, found.ratios(), strict=True), 1):
        ours, theirs = (f"{day[kind.title] / 1e6:,.1f}" for kind in (Ours, Restic))
        lines.append(f"| day {number} | {ours} | {theirs} | {ratio:.3f} |")
    verdict = "met" if found.ratios()[-1] <= GOAL else "**missed**"
    restored = ", ".join(f"{count} of {title}" for title, count in found.restored.items())
    lines += [
        "",
        f"Goal: at most {GOAL} at the end: {verdict}. Backups made by each: {found.backups}. Restored and"
        f" equal to the database as it was: {restored}.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--days", type=int, help="Days to simulate. Default: 30, with --quick 2.")
    parser.add_argument("--every", type=int, help="Hours between backups. Default: 1, with --quick 6.")
    parser.add_argument("--restores", type=int, default=12, help="Backups of each to restore. Default: 12.")
    options = parser.parse_args()
    options.days = options.days or (2 if options.quick else 30)
    options.every = options.every or (6 if options.quick else 1)
    if not shutil.which("restic"):
        raise SystemExit("restic is needed: ours is measured against it.")
    machine = facts() | versions_of(("restic",))
    found = measured(options)
    text = f"{table(found)}\n\n{report.closing_lines(machine, common.scale(options), 1)}"
    data = json.dumps({"machine": machine, **asdict(found)}, indent=1) + "\n"
    report.write(common.out_folder(options), "month", text, data, update_readme=options.update_readme)


if __name__ == "__main__":
    main()
