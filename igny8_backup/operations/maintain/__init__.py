"""Maintain the backups in storage: list, accept, pin and prune them.

``pruning`` applies the retention policy of :mod:`igny8_backup.retention`, and removes the objects that no
manifest names (``orphans``). It reads the storage through ``inventory``. ``pin`` protects a backup from
removal; ``accept`` accepts suspect copies; ``retire`` retires a host; ``listing`` lists the files of a
backup.
"""
