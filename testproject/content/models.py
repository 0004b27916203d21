"""Articles for the sites, and search data that only PostgreSQL supports."""

from __future__ import annotations

import uuid

from accounts.models import User
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVector, SearchVectorField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Length, Lower
from sites_app.models import Site


class Tag(models.Model):
    """A case-insensitive keyword of articles."""

    name = models.CharField(max_length=60)

    class Meta:
        constraints = [models.UniqueConstraint(Lower("name"), name="tag_name_any_case")]

    def __str__(self) -> str:
        return self.name


class Article(models.Model):
    """A draft or published text."""

    class State(models.TextChoices):
        DRAFT = "draft"
        REVIEW = "review"
        PUBLISHED = "published"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="articles")
    author = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True)
    title = models.CharField(max_length=200)
    slug = models.SlugField(max_length=200)
    body = models.TextField()
    body_length = models.GeneratedField(
        expression=Length("body"), output_field=models.IntegerField(), db_persist=True
    )
    state = models.CharField(max_length=10, choices=State, default=State.DRAFT)
    language = models.CharField(max_length=8, default="en")
    meta = models.JSONField(default=dict, blank=True)
    tags = models.ManyToManyField(Tag, blank=True, related_name="articles")
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["site", "slug"], name="article_slug"),
            # Not ``__in``: PostgreSQL writes ``varchar IN (...)`` down in a form that, read back, it writes
            # otherwise, so that no dump of it equals the dump of its restore.
            models.CheckConstraint(
                condition=Q(state="draft") | Q(state="review") | Q(state="published"), name="article_state"
            ),
        ]
        indexes = [
            models.Index(Lower("title"), name="article_title_any_case"),
            models.Index(fields=["-updated_at"], condition=Q(state="published"), name="article_published"),
        ]

    def __str__(self) -> str:
        return self.title


class SearchEntry(models.Model):
    """The search data of an article. The table exists on PostgreSQL only."""

    article = models.OneToOneField(Article, on_delete=models.CASCADE, primary_key=True)
    text = models.TextField()
    keywords = ArrayField(models.CharField(max_length=40), default=list, blank=True)
    facets = models.JSONField(default=dict, blank=True)
    document = models.GeneratedField(
        expression=SearchVector("text", config="simple"), output_field=SearchVectorField(), db_persist=True
    )

    class Meta:
        required_db_vendor = "postgresql"
        indexes = [
            GinIndex(fields=["document"], name="search_document"),
            GinIndex(fields=["keywords"], name="search_keywords"),
            GinIndex(fields=["facets"], name="search_facets", opclasses=["jsonb_path_ops"]),
        ]
