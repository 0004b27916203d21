"""Replace live databases and trees with those of a backup.

Entry points: ``run.RestoreSession``, and ``in_place`` for roles that may not create databases. ``planning``
makes the plan, ``prepare`` builds the staging databases
and trees, and ``swaps`` exchanges these with the live ones. The journal records each step. The package uses
``operations.staging`` and ``operations.backup``.
"""
