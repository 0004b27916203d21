"""Keep objects as files in a folder of this machine, or of a network file system.

:class:`~igny8_backup.store.folder.local.LocalStore` writes them. ``regular_file`` opens regular files only.
``durable`` makes sure that a file has reached the disk before it counts as stored. ``errors`` translates
errors of the file system.
"""
