"""Walk a tree in a fixed order, without what the settings exclude.

Entry points: ``scan.Scan``, the same in a process of its own (``scanner_process.ScanAhead``), and
``excludes.Excludes``. May import everything below it: ``index``, ``tar``, ``fs`` and ``model``.
"""
