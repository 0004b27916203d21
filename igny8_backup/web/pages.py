"""Make each page from the status document: choose its template and title, and compute its variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.core.paginator import Paginator

from igny8_backup.common.clock import utc_now
from igny8_backup.common.humanize import size_in_words
from igny8_backup.conf import ConfigurationError, get_config
from igny8_backup.formats.documents.status import SCHEMA, Activity
from igny8_backup.operations.status.keep import Kept, read_activity, read_status
from igny8_backup.web import detail_pages
from igny8_backup.web.activity import work_rows
from igny8_backup.web.overview import overview, utc
from igny8_backup.web.refresh import refresh

PER_PAGE = 100


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page: the name of its ``template``, its ``title``, and ``facts``, the variables of the template."""

    template: str
    title: str
    facts: dict[str, Any]


def overview_page() -> Page:
    """Return the page about all backups."""
    now = utc_now()
    facts = {**overview(_kept(), now), "works": work_rows(_activity(), now), "refresh": refresh}
    return Page(template="overview", title="Backups", facts=facts)


def list_page(number: str) -> Page:
    """Return page ``number`` of the list of all backups.

    If there is no page of this number, return the last page. If ``number`` is no number, return the first.
    """
    status = _kept().status
    page = Paginator(status.backups if status else (), PER_PAGE).get_page(number)
    rows = [
        {"backup": item, "when": utc(item.started), "size": size_in_words(item.stored_bytes)}
        for item in page.object_list
    ]
    return Page(template="list", title="All backups", facts={"page": page, "rows": rows})


def backup_page(backup_id: str) -> Page | None:
    """Return the page about one backup; ``None`` if the status document does not name it."""
    status = _kept().status
    backup = detail_pages.find_backup(status, backup_id)
    if status is None or backup is None:
        return None
    now = utc_now()
    facts = {**detail_pages.backup_facts(status, backup, now), "works": work_rows(_activity(), now)}
    return Page(template="backup", title=f"Backup {backup.id}", facts=facts)


def run_page(run_id: str) -> Page | None:
    """Return the page about one run; ``None`` if the status document does not name it."""
    status = _kept().status
    run = detail_pages.find_run(status, run_id)
    if status is None or run is None:
        return None
    return Page(template="run", title=f"Run {run.id}", facts=detail_pages.run_facts(status, run))


def _kept() -> Kept:
    try:
        return refresh.newest(read_status(get_config()), utc_now())
    except ConfigurationError as error:
        return Kept(status=None, source="the settings", problem=str(error))


def _activity() -> Activity:
    try:
        return read_activity(get_config())
    except ConfigurationError:
        return Activity(schema=SCHEMA)
