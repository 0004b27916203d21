"""Walk a tree in a fixed order, without what the settings exclude.

Entry points: ``scan.Scan``, ``scanner_process.ScanAhead`` (a ``Scan`` whose walk runs in a process of its
own), and ``excludes.Excludes``. May import everything below it: ``index``, ``tar``, ``fs`` and ``model``.
"""
