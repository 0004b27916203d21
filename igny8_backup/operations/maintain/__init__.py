"""Maintain the backups in storage: list, accept, pin and prune them.

``prune`` applies the retention policy of :mod:`igny8_backup.retention` and calls ``sweep``, which removes the
objects that no manifest names (``orphans``). ``prune`` and ``sweep`` read the storage through ``inventory``.
``pin`` protects a backup from ``prune``; ``listing`` lists the files of a backup.
"""
