"""Replace the contents of the live database in one transaction, for roles that may not create databases.

``preflight`` finds the reasons against such a restore, ``locks`` estimates the locks that it needs, and
``restore`` runs ``pg_restore`` and ``psql``. ``clear_sql`` contains the SQL that empties the database before
the dump is loaded, and the SQL that checks it afterwards. The package may import ``postgresql.restore``.
"""
