"""Keep objects as files in a folder of this machine, or of a network file system.

:class:`~igny8_backup.store.folder.local.LocalStore` writes them. The other modules open regular files only,
and see to it that a file has reached the disk before it counts as stored.
"""
