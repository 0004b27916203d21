"""Page views in a partitioned table, which Django's models cannot describe."""

from django.db import migrations
from project.postgres import PostgresSQL

VIEWS = """
CREATE TABLE public.igny8_sites_pageview (
    id bigint GENERATED ALWAYS AS IDENTITY,
    site_id bigint NOT NULL REFERENCES public.igny8_sites_site (id) ON DELETE CASCADE,
    seen_at timestamptz NOT NULL,
    visitor uuid NOT NULL,
    path text NOT NULL,
    took interval,
    PRIMARY KEY (id, seen_at)
) PARTITION BY RANGE (seen_at);
CREATE TABLE public.igny8_sites_pageview_2026_09 PARTITION OF public.igny8_sites_pageview
    FOR VALUES FROM ('2026-09-01 00:00+00') TO ('2026-10-01 00:00+00');
CREATE TABLE public.igny8_sites_pageview_2026_10 PARTITION OF public.igny8_sites_pageview
    FOR VALUES FROM ('2026-10-01 00:00+00') TO ('2026-11-01 00:00+00');
CREATE TABLE public.igny8_sites_pageview_rest PARTITION OF public.igny8_sites_pageview DEFAULT;
CREATE INDEX igny8_sites_pageview_seen ON public.igny8_sites_pageview USING brin (seen_at);
CREATE INDEX igny8_sites_pageview_site ON public.igny8_sites_pageview (site_id, seen_at DESC);
"""


class Migration(migrations.Migration):
    dependencies = [("igny8_sites", "0001_initial")]

    operations = [PostgresSQL(VIEWS, "DROP TABLE public.igny8_sites_pageview;")]
