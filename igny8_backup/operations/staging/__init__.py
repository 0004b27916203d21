"""Fill and check databases that are not live yet; shared by restores, extractions and drills.

``load`` loads a dump and compares the result with the backup (``probe_checks``). ``sandbox`` runs migrations
and sanitizers in a separate process that can reach only the staging databases. ``overrides`` adapts owners
and locale. Uses ``operations.context`` and databases, not ``operations.restore``.
"""
