"""Restore a PostgreSQL dump into a staging database, and swap that with the live database.

The modules in the order of a restore: ``preflight`` finds the reasons against it, ``target`` describes the
server, ``staging`` creates the staging database, ``load`` runs ``pg_restore`` (with ``archive_toc``,
``tables`` and ``split_phases``), ``vacuum`` removes the traces of sanitized rows, ``swap`` renames the
databases. Only ``swap`` changes the live database.
"""
