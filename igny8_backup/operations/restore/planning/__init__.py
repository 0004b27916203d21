"""Plan a restore: compare backups with what is live, and find everything that would make the restore fail.

``planner`` makes a ``plan.RestorePlan`` from ``facts``, ``preflight`` finds blockers, and ``space`` estimates
the space that is needed.
"""
