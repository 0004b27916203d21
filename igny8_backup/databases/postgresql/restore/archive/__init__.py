"""Examine an archive of ``pg_dump`` before anything of it is restored, and choose what is restored.

:mod:`~igny8_backup.databases.postgresql.restore.archive.toc` reads the entries of the table of contents.
``dangerous_sql`` finds SQL in them that reaches beyond the database, ``labels`` finds security labels that
the server would refuse, and ``tables`` finds the entries that restore some of the tables. ``left_out`` omits
entries that must not take effect, and ``steps`` decides when each entry is restored.
"""
