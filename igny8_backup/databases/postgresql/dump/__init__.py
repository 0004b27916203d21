"""Dump a PostgreSQL database as a stream.

``dump.Dumper`` is the entry point. ``snapshot`` shares one snapshot between several sessions,
``excluded_tables`` finds the tables whose rows are left out, ``toc_check`` checks the archive while it is
streamed.
"""
