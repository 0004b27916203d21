"""Look after the backups in storage: list, monitor, pin and prune them.

``prune`` applies the retention policy (the pure rules are in :mod:`igny8_backup.retention`) and calls
``sweep``, which removes the objects that ``orphans`` finds under no manifest. ``monitor`` tells whether the
backups are healthy. Both read the storage through ``inventory``. ``pin`` keeps a backup whatever the policy
says; ``listing`` lists the files of a backup.
"""
