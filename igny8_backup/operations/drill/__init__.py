"""Drill: try a restore into scratch databases and a scratch folder, and compare the result with the backup.

:func:`~igny8_backup.operations.drill.run.drill` is the entry point. ``scratch`` creates the scratch databases
and the folder, and removes those of drills that were killed. ``locks`` allows one drill at a time. A drill
changes nothing live.
"""
