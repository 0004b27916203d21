"""``list_backups``: backups by host, part and time, grouped by day; tables and bars in 80 columns."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from rich.console import Console

from igny8_backup.management.base import BackupCommand
from igny8_backup.management.progress import live_line
from igny8_backup.management.tables import table
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from tests.operations.clocks import Clock, by_clock
from tests.operations.conftest import context, trees  # noqa: F401  (fixtures)

START = datetime(2020, 3, 1, 1, 15, tzinfo=UTC)


def run(*argv: str) -> str:
    out = StringIO()
    call_command("list_backups", *argv, stdout=out, stderr=StringIO())
    return out.getvalue()


def ids(*argv: str) -> list[str]:
    return [item["id"] for item in json.loads(run(*argv, "--json"))]


@pytest.mark.slow
def test_list_backups_chooses_and_groups(context: BackupContext, tmp_path: Path) -> None:  # noqa: F811 - a fixture
    clock = Clock(START)
    dated = by_clock(context, clock)
    first = run_backup(dated, BackupRequest(trees=("sites",))).id
    assert "\n2020-03-01\n" not in run(), "one day needs no heading"
    clock.forward(hours=1)
    second = run_backup(dated, BackupRequest(trees=("uploads",))).id
    clock.forward(days=1)
    other = replace(dated, config=replace(context.config, host="web-2"))
    third = run_backup(other, BackupRequest(trees=("sites", "uploads"))).id
    known = {"ID", "2020-03-02", third, "2020-03-01", second, first, "3"}
    lines = [word for line in run().splitlines() if (word := line.split()[0]) in known]
    assert lines == ["ID", "2020-03-02", third, "2020-03-01", second, first, "3"]
    assert ids("--part", "sites") == [third, first] and ids("--host", "web-1") == [second, first]
    assert ids("--since", "2020-03-01T02:00") == [third, second] and ids("--since", "2020-03-02") == [third]
    assert ids("--host", "web-2", "--part", "uploads") == [third]
    assert run("--host", "web-3").startswith("None of the 3 in ")
    (tmp_path / "storage/igny8/backups" / second / "manifest.json").write_text("{")
    assert second in ids("--host", "web-2"), "nobody knows what it contains"
    with pytest.raises(CommandError, match="not a time"):
        ids("--since", "yesterday")


@pytest.mark.parametrize("label", ["before-0042", ""])
def test_table_fits_a_terminal_of_80_columns(label: str) -> None:
    names = ("ID", "AGE", "HOST", "HOLDS", "STORED", "STATE", "LABEL")
    row = ("20261122T173732Z-e00442", "18 seconds", "web-1", "default, sites-data, uploads", "959.9 kB")
    state = "complete, unencrypted, checked stored 2 days ago"
    text = table(names, [(*row, state, label)] * 2, width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert text.count(row[0]) == 2, "ids are never broken"
    assert label or "unencrypted" in text and "sites-data" in text, "neither are words that fit"
    assert ("LABEL" in text) == bool(label)


def test_narrow_table_loses_no_character_of_long_names() -> None:
    names, host = ("ID", "AGE", "HOST", "WHY IT IS NOT TRUSTED"), "web-1.production.example.com." * 3
    why = "no signature of a key in TRUSTED covers its manifest"
    text = table(names, [("20261122T173732Z-e00442", "3 days", host, why)], width=80)
    assert max(map(len, text.splitlines())) <= 80
    letters = Counter("".join((*names, "20261122T173732Z-e00442", "3 days", host, why)).replace(" ", ""))
    assert Counter("".join(text.split())) == letters


def test_narrow_table_of_objects_leaves_keys_whole() -> None:
    key = "packs/web-1.production.example.com/sites-data/20261122T021500Z-7f3a9c-0001.tar.zst.age"
    text = table(("STORED", "AGE", "STATE", "KEY"), [("12.3 GB", "3 days", "orphan", key)], width=80)
    assert text.splitlines()[1:] == [f"12.3 GB  3 days  orphan  {key}"]


def test_progress_bar_is_one_line_of_80_columns() -> None:
    out = StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system=None)
    with live_line(console) as shown:
        task = shown.add_task("files sites-data, 12,345 of about 20,000 files [a]", total=5_000_000_000)
        shown.update(task, completed=1_234_567_890)
        shown.refresh()
        last = out.getvalue().split("\x1b[2K")[-1]
    text = last.split("\x1b")[0]
    assert "\n" not in text and len(text) <= 80
    assert text.startswith("files sites-data, 12,345") and "25%" in text and "1.2/5.0 GB" in text


def test_command_with_no_color_has_no_style(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_COLORS", "dark")
    monkeypatch.delenv("NO_COLOR", raising=False)

    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    def shown(**options: Any) -> str:
        out = Terminal()
        BackupCommand(stderr=out, **options).stderr.write("wrong")
        return out.getvalue()

    coloured = shown(force_color=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" in coloured and shown() == "wrong\n"
