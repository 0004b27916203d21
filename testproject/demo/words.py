"""Generate names and texts as in an application. They depend only on the seed."""

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
    """A site of an account: the id of its row, its domain, and its folder below the tree ``sites-data``."""

    id: int
    account: int
    domain: str
    folder: str


def generator(seed: int, *what: object) -> random.Random:
    """Return a random generator for a name, independent of earlier ones."""
    return random.Random("/".join(map(str, (seed, *what))))


def account_slug(account: int) -> str:
    """Return the slug of an account, with which the folders of its sites begin."""
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
    """Return that many words."""
    return " ".join(choose.choices(WORDS, k=length)).capitalize()


@functools.cache
def _sentences() -> tuple[str, ...]:
    choose = generator(0, "sentences")
    return tuple(sentence(choose, 12) + ". " for _ in range(512))


def text(choose: random.Random, paragraphs: int) -> str:
    """Return paragraphs of about 400 characters, with tabs and both kinds of line ends."""
    parts = choose.choices(_sentences(), k=5 * paragraphs)
    return "\r\n\r\n".join("".join(parts[place : place + 5]) + "\n\t" for place in range(0, len(parts), 5))
