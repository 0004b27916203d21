"""Back up databases and trees of files.

:func:`~igny8_backup.operations.backup.run.run_backup` is the entry point. It takes the locks, backs up each
database (``database``) and each tree (``trees``), and writes the manifest last. ``run_record`` stores the
state of the run, which other hosts read.
"""
