"""Extract a backup, or part of it, into a new database or folder. Nothing live is changed.

Entry points: ``plan.plan_extract`` and ``plan.run_extract``. ``database`` creates the database, ``tree``
writes the folder, ``path_filter`` chooses files by patterns. The package uses ``operations.staging`` and the
preflight checks of ``operations.restore``.
"""
