"""Replace live databases and trees with those of a backup, and undo a restore.

Entry points: ``run.RestoreSession``, ``in_place`` for roles that may not create databases, and ``undo``.
``planner`` makes the plan, ``prepare`` builds the staging databases and trees, ``swaps`` exchanges them with
the live ones; the journal records each step. The package uses ``operations.staging`` and
``operations.backup``.
"""
