"""Sites, their pages, and the articles written for them."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from typing import Any

from content.models import Article, SearchEntry, Tag
from sites_app.models import Page, Site

from demo.rows.batch import Batch, moment
from demo.rows.people import USERS
from demo.words import LANGUAGES, WORDS, generator, sentence, site_names, text

PAGES, ARTICLES, TAGS = 25, 40, 3


def sites(accounts: int, seed: int) -> Iterator[Batch]:
    names = site_names(accounts)
    yield Batch.of(
        Site,
        "id account_id domain folder is_published theme published_at",
        (
            (
                site.id,
                site.account,
                site.domain,
                site.folder,
                site.id % 11 != 0,
                {"colour": f"#{site.id * 7919 % 0xFFFFFF:06x}", "fonts": ["Inter", "Noto Sans"]},
                moment(site.id) if site.id % 11 else None,
            )
            for site in names
        ),
    )
    yield Batch.of(
        Page,
        "id site_id path title checksum published_at",
        (
            (
                place * PAGES + page + 1,
                site.id,
                f"/page-{page:03}.html",
                f"{WORDS[(site.id + page) % len(WORDS)]} of {site.domain}",
                hashlib.sha256(f"{seed}/{site.id}/{page}".encode()).digest(),
                moment(site.id + page),
            )
            for place, site in enumerate(names)
            for page in range(PAGES)
        ),
    )


def article_id(site: int, place: int, seed: int) -> uuid.UUID:
    return uuid.UUID(bytes=hashlib.sha256(f"{seed}/article/{site}/{place}".encode()).digest()[:16], version=4)


def articles(accounts: int, seed: int) -> Iterator[Batch]:
    names = site_names(accounts)
    labels = sorted({word.lower() for word in WORDS})

    def chosen(site: int, place: int) -> list[int]:
        return sorted(generator(seed, "tags", site, place).sample(range(len(labels)), TAGS))

    def texts() -> Iterator[tuple[Any, ...]]:
        for site in names:
            for place in range(ARTICLES):
                choose = generator(seed, "article", site.id, place)
                title = sentence(choose, 5)
                author = (site.account - 1) * USERS + 1 + place % USERS if place % 8 else None
                state = ("draft", "review", "published", "published")[place % 4]
                meta = {"score": choose.random(), "notes": None, "outline": choose.sample(WORDS, 3)}
                who = (article_id(site.id, place, seed), site.id, author, title, f"article-{place}")
                what = (text(choose, 1 + place % 5), state, LANGUAGES[place % 5], meta)
                yield (*who, *what, moment(place), moment(place * 2))

    def tagged() -> Iterator[tuple[Any, ...]]:
        number = 0
        for site in names:
            for place in range(ARTICLES):
                for label in chosen(site.id, place):
                    number += 1
                    yield number, article_id(site.id, place, seed), label + 1

    def entries() -> Iterator[tuple[Any, ...]]:
        for site in names:
            for place in range(ARTICLES):
                keywords = [labels[label] for label in chosen(site.id, place)]
                words = " ".join((site.domain, *keywords))
                facets = {"site": site.id, "words": keywords}
                yield article_id(site.id, place, seed), words, keywords, facets

    yield Batch.of(Tag, "id name", enumerate(labels, 1))
    yield Batch.of(
        Article,
        "id site_id author_id title slug body state language meta created_at updated_at",
        texts(),
    )
    yield Batch.of(Article.tags.through, "id article_id tag_id", tagged())
    yield Batch.of(SearchEntry, "article_id text keywords facets", entries())
