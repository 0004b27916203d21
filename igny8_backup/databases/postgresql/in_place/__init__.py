"""Replace the contents of the live database in one transaction, for roles that may not create databases.

``preflight`` finds the reasons against such a restore, ``restore`` runs ``pg_restore`` and ``psql``,
``clear_sql`` contains the SQL that empties the database first and checks it at the end. May import
``postgresql.restore``.
"""
