"""The rows of the demo: plain values by table, in an order that foreign keys allow.

The same number of accounts and the same seed give the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator

from demo.rows.batch import Batch
from demo.rows.billing import bills, credits
from demo.rows.people import tenants, workflows
from demo.rows.publishing import articles, sites


def batches(accounts: int, seed: int) -> Iterator[Batch]:
    """Yield the batches in an order in which they can be inserted."""
    for part in (tenants, credits, bills, sites, articles, workflows):
        yield from part(accounts, seed)
