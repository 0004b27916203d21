"""Fill an empty, migrated database with the rows of the demo."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import psycopg
from django.db import models
from psycopg import sql
from psycopg.types.json import Jsonb

from demo.rows import batches
from demo.rows.batch import Batch
from demo.rows.billing import FIRST_NUMBER, INVOICES

SEED = 8
ROWS_OF_AN_ACCOUNT = 1_000  # a little more, in truth
VIEWS_OF_A_SITE = 200
CHUNK = 1_000

PAGE_VIEWS = """
INSERT INTO public.igny8_sites_pageview (site_id, seen_at, visitor, path, took)
SELECT site.id, timestamptz '2026-08-20 00:00+00'
           + interval '1 second' * ((view * 7919 + site.id * 104729) % {seconds}),
       md5(format('%s/%s/%s', {seed}::int, site.id, view % 40))::uuid, format('/page-%s.html', view % 25),
       CASE WHEN view % 9 > 0 THEN interval '1 millisecond' * (view * 31 % 2000) END
  FROM public.igny8_sites_site AS site, generate_series(1, {views}) AS view
 ORDER BY site.id, view
"""


def accounts_for(rows: int) -> int:
    """Return the number of accounts that gives at least that many rows."""
    return max(2, -(-rows // ROWS_OF_AN_ACCOUNT))


def fill_postgres(connection: psycopg.Connection[Any], accounts: int, *, seed: int = SEED) -> int:
    """Write the rows into PostgreSQL, in one transaction, and return their number."""
    with connection.transaction(), connection.cursor() as cursor:
        count = sum(_copy(cursor, batch) for batch in batches(accounts, seed))
        cursor.execute(sql.SQL(PAGE_VIEWS).format(seed=seed, views=VIEWS_OF_A_SITE, seconds=80 * 24 * 3600))
        count += cursor.rowcount
        last = FIRST_NUMBER + accounts * INVOICES
        cursor.execute("SELECT setval('public.billing_invoice_number', %s)", [last])
        cursor.execute("REFRESH MATERIALIZED VIEW reporting.revenue")
    return count


def fill_with_models(accounts: int, *, using: str, seed: int = SEED) -> int:
    """Write the rows through Django, into any database, and return their number."""
    count = 0
    for batch in batches(accounts, seed):
        if batch.model._meta.required_db_vendor:
            continue
        manager = batch.model._base_manager.using(using)
        instances = (batch.model(**dict(zip(batch.columns, row, strict=True))) for row in batch.rows)
        while chunk := list(islice(instances, CHUNK)):
            count += len(manager.bulk_create(chunk))
    return count


def _copy(cursor: psycopg.Cursor[Any], batch: Batch) -> int:
    """Write a batch with COPY and set the table's identity past its last row."""
    meta = batch.model._meta
    fields = {field.attname: field for field in meta.concrete_fields}
    table = sql.Identifier(meta.db_table)
    columns = sql.SQL(", ").join(sql.Identifier(str(fields[name].column)) for name in batch.columns)
    as_json = [isinstance(fields[name], models.JSONField) for name in batch.columns]
    count = 0
    with cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN").format(table, columns)) as copy:
        for row in _adapted(batch, as_json):
            copy.write_row(row)
            count += 1
    if isinstance(meta.pk, models.AutoField):
        key = sql.Identifier(str(meta.pk.column))
        cursor.execute(
            sql.SQL("SELECT setval(pg_get_serial_sequence({}, {}), max({})) FROM {}").format(
                sql.Literal(meta.db_table), sql.Literal(meta.pk.column), key, table
            )
        )
    return count


def _adapted(batch: Batch, as_json: list[bool]) -> Iterator[tuple[Any, ...]]:
    if not any(as_json):
        yield from batch.rows
        return
    for row in batch.rows:
        yield tuple(
            Jsonb(value) if is_json and value is not None else value
            for value, is_json in zip(row, as_json, strict=True)
        )
