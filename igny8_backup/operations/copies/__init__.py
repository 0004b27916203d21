"""Copy whole backups to other storages, as they are: encrypted and signed.

``run.copy_backups`` copies the backups that the storages in ``COPIES`` lack. ``choose`` decides which backups
a storage should have, ``one_backup`` copies one backup, and ``destination`` knows which objects a storage
has. Imports ``maintain`` and the packages below it.
"""
