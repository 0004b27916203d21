"""Compare a sample of what is live with the newest backup: ``run`` is the entry point.

A check of the storage cannot find what the backup never contained. ``judge`` turns the numbers for a tree or
database into findings, which ``result`` holds. Imports ``history``, ``context`` and what lies below them.
"""
