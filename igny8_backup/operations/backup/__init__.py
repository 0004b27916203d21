"""Back up databases and trees of files.

:func:`~igny8_backup.operations.backup.run.run_backup` is the entry point. It takes the locks, backs up each
database (``database``) and each tree (``tree``), and writes the manifest last. ``run_record`` tells other
hosts about the run; ``parent_index`` finds the backup that a tree is compared with.
"""
