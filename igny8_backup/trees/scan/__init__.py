"""Walk a tree in a fixed order, without what the settings exclude.

Entry points: ``scan.Scan``, ``scan_ahead.ScanAhead`` (a ``Scan`` whose walk runs in a process of its
own), and ``excludes.Excludes``. May import everything below it: ``worker_protocol``, ``index``, ``tar``,
``fs`` and ``model``.
"""
