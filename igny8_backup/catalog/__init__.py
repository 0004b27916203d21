"""What is in a store: backups, runs and annotations, and which backup a restore reads.

``backups.Catalog`` lists and reads manifests and run records; ``select.select`` chooses the backup for each
database and tree of a restore; ``annotations`` reads pins, results of checks and the marks on orphans
(objects that belong to no backup). No key is needed.
This package imports ``store``, ``formats``, ``humanize`` and ``errors``.
"""
