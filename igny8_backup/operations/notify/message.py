"""A message to the operator, and the result of sending it."""

from __future__ import annotations

from dataclasses import dataclass

FAILURE, RECOVERY, SUMMARY = "failure", "recovery", "summary"


@dataclass(frozen=True)
class Message:
    """A message: ``kind`` is ``FAILURE``, ``RECOVERY`` or ``SUMMARY``."""

    kind: str
    subject: str
    text: str


@dataclass(frozen=True)
class Delivery:
    """The result of sending a message.

    ``sent``: at least one recipient got it. ``problem`` says who did not get the message, and why; it is
    empty if nothing went wrong.
    """

    sent: bool
    problem: str = ""
