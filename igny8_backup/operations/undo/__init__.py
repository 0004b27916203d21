"""Undo or redo a restore, and delete the data that restores have kept.

Entry points: ``plan.plan_undo`` and ``run.undo``; ``discard.plan_discard`` and ``discard.discard``.
``history`` decides from the journals which restore is next and which commands to advise. ``copies`` finds
what is live and what is kept. The package exchanges data by means of ``operations.restore.swaps``.
"""
