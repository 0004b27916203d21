"""Credits that accounts spend, and the invoices that pay for them. All sums are balanced."""

from __future__ import annotations

from accounts.models import Account
from django.db import models
from django.db.models import F, Q


class CreditLedger(models.Model):
    """The balance of an account: the sum of its transactions."""

    account = models.OneToOneField(Account, on_delete=models.PROTECT, primary_key=True)
    balance = models.BigIntegerField(default=0)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(balance__gte=0), name="ledger_not_overdrawn")]


class CreditTransaction(models.Model):
    """Credits bought or spent. Rows are never changed."""

    class Kind(models.TextChoices):
        PURCHASE = "purchase"
        SPENDING = "spending"

    ledger = models.ForeignKey(CreditLedger, on_delete=models.PROTECT, related_name="transactions")
    kind = models.CharField(max_length=10, choices=Kind)
    amount = models.BigIntegerField()
    note = models.TextField(blank=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(kind="purchase", amount__gt=0) | Q(kind="spending", amount__lt=0),
                name="transaction_sign",
            ),
        ]
        indexes = [models.Index(fields=["ledger", "-created_at"], name="transaction_recent")]


class Invoice(models.Model):
    """An invoice. On PostgreSQL a trigger keeps ``total`` equal to the sum of the lines."""

    class State(models.TextChoices):
        OPEN = "open"
        PAID = "paid"

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="invoices")
    number = models.CharField(max_length=20, unique=True)
    state = models.CharField(max_length=10, choices=State, default=State.OPEN)
    currency = models.CharField(max_length=3, default="EUR")
    issued_on = models.DateField()
    due_on = models.DateField()
    total = models.DecimalField(max_digits=12, decimal_places=2, default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(total__gte=0), name="invoice_total_not_negative"),
            models.CheckConstraint(condition=Q(due_on__gte=F("issued_on")), name="invoice_due_after_issue"),
        ]
        indexes = [models.Index(fields=["due_on"], condition=Q(state="open"), name="invoice_open_by_due")]

    def __str__(self) -> str:
        return self.number


class InvoiceLine(models.Model):
    """A line of an invoice. The database computes the amount."""

    invoice = models.ForeignKey(Invoice, on_delete=models.CASCADE, related_name="lines")
    position = models.PositiveSmallIntegerField()
    description = models.CharField(max_length=200)
    quantity = models.PositiveIntegerField()
    unit_price = models.DecimalField(max_digits=10, decimal_places=2)
    amount = models.GeneratedField(
        expression=F("quantity") * F("unit_price"),
        output_field=models.DecimalField(max_digits=12, decimal_places=2),
        db_persist=True,
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["invoice", "position"], name="line_position")]


class Payment(models.Model):
    """Money received for an invoice."""

    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="payments")
    amount = models.DecimalField(max_digits=12, decimal_places=2)
    method = models.CharField(max_length=20)
    reference = models.CharField(max_length=40, unique=True, null=True, blank=True)
    received_at = models.DateTimeField()

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(amount__gt=0), name="payment_positive")]
