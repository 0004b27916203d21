"""Restore a PostgreSQL dump into a staging database, and swap that with the live database.

In the order of a restore: ``preflight`` finds blockers and ``target`` describes the server; ``staging``
creates the database, ``load`` runs ``pg_restore`` (with ``archive_toc``, ``tables`` and ``split_phases``),
``vacuum`` surrounds sanitizers, ``swap`` renames. The live database is not changed before ``swap``.
"""
