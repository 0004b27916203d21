"""Invoice numbers from a sequence, totals kept by a trigger, a domain and an enum, reports in a schema."""

from django.db import migrations
from project.postgres import PostgresSQL

# Names are qualified: a restore runs with an empty search_path.
TOTALS = """
CREATE FUNCTION public.billing_keep_invoice_totals() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    UPDATE public.billing_invoice AS invoice
       SET total = (SELECT coalesce(sum(line.amount), 0)
                      FROM public.billing_invoiceline AS line WHERE line.invoice_id = invoice.id)
     WHERE invoice.id IN (SELECT DISTINCT changed.invoice_id FROM changed);
    RETURN NULL;
END
$body$;
COMMENT ON FUNCTION public.billing_keep_invoice_totals() IS 'An invoice''s total is the sum of its lines.';

CREATE TRIGGER totals_after_insert AFTER INSERT ON billing_invoiceline
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION public.billing_keep_invoice_totals();
CREATE TRIGGER totals_after_update AFTER UPDATE ON billing_invoiceline
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION public.billing_keep_invoice_totals();
CREATE TRIGGER totals_after_delete AFTER DELETE ON billing_invoiceline
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION public.billing_keep_invoice_totals();
"""
NO_TOTALS = """
DROP TRIGGER totals_after_insert ON billing_invoiceline;
DROP TRIGGER totals_after_update ON billing_invoiceline;
DROP TRIGGER totals_after_delete ON billing_invoiceline;
DROP FUNCTION public.billing_keep_invoice_totals();
"""

NUMBERS = """
CREATE SEQUENCE public.billing_invoice_number START 100000 CACHE 1;
COMMENT ON SEQUENCE public.billing_invoice_number IS 'Never goes back: gaps are legal, doubles are not.';
"""

REPORTS = """
CREATE SCHEMA reporting;
CREATE DOMAIN reporting.percentage AS numeric(5, 2) CHECK (VALUE BETWEEN 0 AND 100);
CREATE TYPE reporting.tax_kind AS ENUM ('standard', 'reduced', 'exempt');

CREATE TABLE reporting.tax_rate (
    country char(2) NOT NULL,
    kind reporting.tax_kind NOT NULL,
    rate reporting.percentage NOT NULL,
    valid daterange NOT NULL DEFAULT daterange('2026-01-01', NULL),
    PRIMARY KEY (country, kind)
);
COMMENT ON TABLE reporting.tax_rate IS 'What a country takes; äöü € 税 keep their letters.';
INSERT INTO reporting.tax_rate (country, kind, rate) VALUES
    ('AT', 'standard', 20), ('AT', 'reduced', 10), ('FR', 'standard', 20), ('FR', 'reduced', 5.5),
    ('GB', 'standard', 20), ('GB', 'exempt', 0);

CREATE VIEW reporting.open_invoices AS
    SELECT invoice.id, invoice.number, account.slug, invoice.due_on, invoice.total
      FROM public.billing_invoice AS invoice JOIN public.accounts_account AS account
        ON account.id = invoice.account_id
     WHERE invoice.state = 'open';
CREATE MATERIALIZED VIEW reporting.revenue AS
    SELECT invoice.account_id, date_trunc('month', payment.received_at AT TIME ZONE 'UTC')::date AS month,
           count(*) AS payments, sum(payment.amount) AS amount
      FROM public.billing_payment AS payment JOIN public.billing_invoice AS invoice
        ON invoice.id = payment.invoice_id
     GROUP BY 1, 2;
CREATE UNIQUE INDEX revenue_once ON reporting.revenue (account_id, month);
COMMENT ON MATERIALIZED VIEW reporting.revenue IS 'Money received for each account and month.';
"""
NO_REPORTS = "DROP SCHEMA reporting CASCADE;"


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_initial"), ("accounts", "0001_initial")]

    operations = [
        PostgresSQL(TOTALS, NO_TOTALS),
        PostgresSQL(NUMBERS, "DROP SEQUENCE public.billing_invoice_number;"),
        PostgresSQL(REPORTS, NO_REPORTS),
    ]
