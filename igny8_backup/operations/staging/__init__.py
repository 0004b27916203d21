"""Fill and check staging databases, which are not live yet, for restores, extractions and drills.

``load`` loads a dump and compares the result with the backup (``probe_checks``). ``project_code`` runs
migrations and sanitizers in a separate process that can connect only to staging databases. ``overrides``
changes owners and locale. The package does not use ``operations.restore``.
"""
