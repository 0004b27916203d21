"""Dump a PostgreSQL database as a stream.

``dump.Dumper`` is the entry point. ``snapshot`` holds one instant for several sessions, ``excluded_tables``
resolves the tables whose rows are left out, ``toc_check`` checks the archive while it passes.
"""
