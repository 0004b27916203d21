"""Drill: restore a backup for practice and compare it with what was backed up.

:func:`~igny8_backup.operations.drill.run.drill` is the entry point. It restores into scratch databases and a
scratch folder (``scratch``), under locks of its own (``locks``), and touches nothing live.
:func:`~igny8_backup.operations.drill.scratch.remove_killed_drills` cleans up after drills that were killed.
"""
