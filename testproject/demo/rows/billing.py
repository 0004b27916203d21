"""Credits and invoices. Money is balanced.

An invoice's total is the sum of its lines, a paid invoice's payments are its total, a ledger's balance is the
sum of its transactions.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from billing.models import CreditLedger, CreditTransaction, Invoice, InvoiceLine, Payment

from demo.rows.batch import Batch, moment
from demo.words import generator, sentence

CREDITS, INVOICES = 120, 24
FIRST_NUMBER = 100_000


def credits(accounts: int, seed: int) -> Iterator[Batch]:
    def amounts(account: int) -> list[int]:
        choose = generator(seed, "credits", account)
        spent = [-choose.randint(1, 90) for _ in range(CREDITS)]
        return [
            choose.choice((1_000, 5_000)) if place % 10 == 0 else spent[place] for place in range(CREDITS)
        ]

    def transactions() -> Iterator[tuple[Any, ...]]:
        number = 0
        for account in range(1, accounts + 1):
            for amount in amounts(account):
                number += 1
                kind, note = ("purchase", "top-up") if amount > 0 else ("spending", f"article {number} ✓")
                yield number, account, kind, amount, note, moment(number / 10)

    yield Batch.of(
        CreditLedger,
        "account_id balance",
        ((number, sum(amounts(number))) for number in range(1, accounts + 1)),
    )
    yield Batch.of(CreditTransaction, "id ledger_id kind amount note created_at", transactions())


def invoice_lines(invoice: int, seed: int) -> list[tuple[str, int, Decimal]]:
    """Return the lines of one invoice: description, quantity, unit price."""
    choose = generator(seed, "invoice", invoice)
    return [
        (sentence(choose, 4), choose.randint(1, 20), Decimal(choose.randint(1, 50_000)) / 100)
        for _ in range(choose.randint(1, 6))
    ]


def total(invoice: int, seed: int) -> Decimal:
    return sum((quantity * price for _, quantity, price in invoice_lines(invoice, seed)), Decimal(0))


def bills(accounts: int, seed: int) -> Iterator[Batch]:
    numbers = range(1, accounts * INVOICES + 1)

    def is_open(invoice: int) -> bool:
        return invoice % 7 == 0

    def invoices() -> Iterator[tuple[Any, ...]]:
        for invoice in numbers:
            issued = date(2026, 1, 1) + timedelta(days=invoice % 300)
            name, state = f"IG-{FIRST_NUMBER + invoice}", "open" if is_open(invoice) else "paid"
            account = (invoice - 1) // INVOICES + 1
            due = issued + timedelta(days=14)
            yield invoice, account, name, state, "EUR", issued, due, total(invoice, seed)

    def lines() -> Iterator[tuple[Any, ...]]:
        number = 0
        for invoice in numbers:
            for position, (description, quantity, price) in enumerate(invoice_lines(invoice, seed), 1):
                number += 1
                yield number, invoice, position, description, quantity, price

    def payments() -> Iterator[tuple[Any, ...]]:
        number = 0
        for invoice in numbers:
            whole = total(invoice, seed)
            half = (whole / 2).quantize(Decimal("0.01"))
            parts = [half] if is_open(invoice) else [half, whole - half] if invoice % 5 == 0 else [whole]
            for amount in parts:
                if amount <= 0:
                    continue
                number += 1
                reference = f"SEPA-{number:09}" if number % 3 else None
                yield number, invoice, amount, ("card", "transfer")[number % 2], reference, moment(number / 4)

    yield Batch.of(Invoice, "id account_id number state currency issued_on due_on total", invoices())
    yield Batch.of(InvoiceLine, "id invoice_id position description quantity unit_price", lines())
    yield Batch.of(Payment, "id invoice_id amount method reference received_at", payments())
