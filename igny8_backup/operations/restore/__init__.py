"""Replace live databases and trees with those of a backup, and undo that.

Entry points: ``run.RestoreSession`` (settle, plan, execute), ``in_place`` for roles that may not create
databases, and ``undo``. ``planner`` makes the plan, ``prepare`` builds the staging databases and trees,
``swaps`` exchanges them with the live ones, step by step from the journal. Uses ``operations.staging`` and
``operations.backup``, and knows nothing of commands.
"""
