"""Drill: practise a restore into scratch databases and a scratch folder, and compare it with the backup.

:func:`~igny8_backup.operations.drill.run.drill` is the entry point. ``scratch`` holds the locks of a drill,
and removes the scratch databases and folders that killed drills have left. ``locks`` allows one drill at a
time. A drill changes nothing live.
"""
