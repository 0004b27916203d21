"""Exchange a live tree with the restored tree, which is in a staging folder on the same filesystem.

A swap that was killed can be finished or undone.

Entry points: ``target.SwapTarget`` (the paths), ``plan.plan_swap`` (what the restore journal records before
anything moves) and ``swap.exchange``, ``swap.undo`` and ``swap.keep``. May import ``fs`` and ``model``.
"""
