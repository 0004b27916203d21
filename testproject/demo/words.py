"""Names and texts that look like an application's, the same for the same seed."""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass

WORDS = tuple(
    """
account audience backlink brand campaign canonical cluster content conversion crawl draft editor engagement
funnel headline image insight keyword landing layout link market metric narrative outline page plan press
product query ranking reach reader report research schedule schema search segment snippet source story
strategy style summary theme title topic traffic trend value visit voice workflow Übersicht façade naïve
smørrebrød žluťoučký Ελλάδα мир 東京 検索 안녕 🎉 O'Reilly "quoted" back\\slash
""".split()  # noqa: SIM905
)
LANGUAGES = ("en", "de", "fr", "ja", "el")
SITES_OF_ACCOUNT = (1, 2)  # by turns


@dataclass(frozen=True)
class SiteName:
    """One site of one account: its row's id, domain, and folder below the tree ``sites-data``."""

    id: int
    account: int
    domain: str
    folder: str


def generator(seed: int, *what: object) -> random.Random:
    """Return a generator of its own for this thing, whatever was generated before it."""
    return random.Random("/".join(map(str, (seed, *what))))


def account_slug(account: int) -> str:
    """Return the account's slug, which begins its sites' folders."""
    return f"tenant-{account:05}"


def site_names(accounts: int) -> list[SiteName]:
    """Return the sites of that many accounts, in the order of their ids."""
    names: list[SiteName] = []
    for account in range(1, accounts + 1):
        for number in range(SITES_OF_ACCOUNT[account % 2]):
            domain = f"{'www' if number == 0 else 'shop'}.{account_slug(account)}.example"
            names.append(SiteName(len(names) + 1, account, domain, f"{account_slug(account)}/{domain}"))
    return names


def sentence(choose: random.Random, length: int) -> str:
    """Return so many words."""
    return " ".join(choose.choices(WORDS, k=length)).capitalize()


@functools.cache
def _sentences() -> tuple[str, ...]:
    choose = generator(0, "sentences")
    return tuple(sentence(choose, 12) + ". " for _ in range(512))


def text(choose: random.Random, paragraphs: int) -> str:
    """Return paragraphs of about 400 characters; tabs and line ends of both kinds among them."""
    parts = choose.choices(_sentences(), k=5 * paragraphs)
    return "\r\n\r\n".join("".join(parts[place : place + 5]) + "\n\t" for place in range(0, len(parts), 5))
