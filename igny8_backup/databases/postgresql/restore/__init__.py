"""Restore a PostgreSQL dump into a staging database, and swap the staging database with the live database.

The main modules, in the order of a restore: ``preflight`` and ``readiness`` find the reasons against it,
``target`` describes the server, ``staging`` creates the staging database, ``load`` runs ``pg_restore`` on the
entries that ``archive`` selects, ``vacuum`` removes the traces of sanitized rows, and ``swap`` renames the
databases. Only ``swap`` changes the live database.
"""
