"""Replace the contents of the live database in one transaction, for roles that may not create databases.

``preflight`` finds blockers, ``restore`` runs ``pg_restore`` and ``psql``, ``clear_sql`` holds the SQL that
empties the database before and checks it afterwards. May import ``restore``.
"""
