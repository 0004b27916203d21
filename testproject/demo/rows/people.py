"""Accounts, their users, and their automated workflows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from accounts.models import Account, Membership, User
from automation.models import Run, Schedule, Workflow

from demo.rows.batch import Batch, moment
from demo.words import LANGUAGES, WORDS, account_slug, generator, sentence

USERS, WORKFLOWS, RUNS = 5, 3, 50


def tenants(accounts: int, seed: int) -> Iterator[Batch]:
    def people() -> Iterator[tuple[Any, ...]]:
        for person in range(1, accounts * USERS + 1):
            choose = generator(seed, "user", person)
            first, last = (word.capitalize() for word in choose.sample(WORDS[:50], 2))
            name = f"{first.lower()}.{last.lower()}.{person}"
            # "!" marks a password that nobody has.
            values = (person, name, first, last, f"{name}@tenant.example", f"!{choose.getrandbits(160):040x}")
            yield (*values, person == 1, person == 1, person % 50 > 0, moment(person))

    def memberships() -> Iterator[tuple[Any, ...]]:
        for person in range(1, accounts * USERS + 1):
            account, place = divmod(person - 1, USERS)
            yield person, account + 1, person, ("owner", "editor", "viewer")[min(place, 2)]

    yield Batch.of(
        Account,
        "id name slug plan is_active preferences created_at",
        (
            (
                number,
                f"{WORDS[number % len(WORDS)].capitalize()} & Søns {number}",
                account_slug(number),
                ("free", "team", "agency")[number % 3],
                number % 17 != 0,
                {"locale": LANGUAGES[number % 5], "beta": number % 4 == 0, "limits": {"sites": number % 9}},
                moment(number),
            )
            for number in range(1, accounts + 1)
        ),
    )
    yield Batch.of(
        User,
        "id username first_name last_name email password is_superuser is_staff is_active date_joined",
        people(),
    )
    yield Batch.of(Membership, "id account_id user_id role", memberships())


def workflows(accounts: int, seed: int) -> Iterator[Batch]:
    numbers = range(1, accounts * WORKFLOWS + 1)

    def runs() -> Iterator[tuple[Any, ...]]:
        number = 0
        for workflow in numbers:
            choose = generator(seed, "runs", workflow)
            for place in range(RUNS):
                number += 1
                queued = moment(place * 6 + workflow / 100)
                if place == RUNS - 1:
                    yield number, workflow, "queued", queued, None, None, 0.0, None
                    continue
                took = timedelta(microseconds=choose.randint(1_000, 90_000_000))
                result = {"tokens": choose.randint(50, 9_000), "text": sentence(choose, 12)}
                state = "failed" if choose.random() < 0.03 else "done"
                yield number, workflow, state, queued, queued + took, took, choose.random() / 7, result

    steps = [{"do": "research"}, {"do": "write", "model": "small"}, {"do": "publish", "if": "approved"}]
    yield Batch.of(
        Workflow,
        "id account_id name definition is_enabled",
        (
            (number, (number - 1) // WORKFLOWS + 1, f"Workflow №{number}", {"steps": steps}, number % 6 > 0)
            for number in numbers
        ),
    )
    yield Batch.of(
        Schedule,
        "id workflow_id cron last_run_at next_run_at",
        ((n, n, f"{n % 60} */6 * * *", moment(n) if n % 3 else None, moment(n + 7_000)) for n in numbers),
    )
    yield Batch.of(Run, "id workflow_id state queued_at finished_at took cost result", runs())
