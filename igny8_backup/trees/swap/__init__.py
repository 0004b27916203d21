"""Exchange a live tree with the one in its staging folder; a swap that is killed can be finished or undone.

Entry points: ``target.SwapTarget`` (the paths), ``plan.plan_swap`` (what a journal records before anything
moves) and ``swap.exchange``, ``swap.undo`` and ``swap.keep``. May import ``fs`` and ``model``.
"""
