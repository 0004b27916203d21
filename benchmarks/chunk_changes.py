"""What changes in the database of ``benchmarks.chunks``: SQL for a day, and for a small part of it."""

DAY = (
    "INSERT INTO bench_ledger SELECT (SELECT max(id) FROM bench_ledger) + row_number() OVER (), account_id,"
    " happened, kind, amount + 1, balance, reference FROM bench_ledger WHERE id % 250 = 7",
    "INSERT INTO bench_event SELECT (SELECT max(id) FROM bench_event) + row_number() OVER (), happened, kind,"
    " payload || jsonb_build_object('seen', id) FROM bench_event WHERE id % 250 = 7",
    "UPDATE bench_article SET title = 'Corrected: ' || title WHERE id % 200 = 7",
    "INSERT INTO bench_article SELECT (SELECT max(id) FROM bench_article) + row_number() OVER (), site_id,"
    " 'new-' || slug, title, reverse(body), published FROM bench_article WHERE id % 250 = 7",
)
HOUR = (
    "INSERT INTO bench_ledger SELECT (SELECT max(id) FROM bench_ledger) + row_number() OVER (), account_id,"
    " happened, kind, amount + 1, balance, reference FROM bench_ledger WHERE id % 6000 = {hour}",
    "UPDATE bench_article SET title = 'Corrected: ' || title WHERE id % 5000 = {hour}",
)
