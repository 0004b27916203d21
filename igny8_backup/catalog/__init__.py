"""What is in a store: backups, runs and annotations, and which backup a restore reads.

``backups.Catalog`` lists and reads manifests and run records; ``select.select`` chooses the backup for each
part of a restore; ``annotations`` reads pins, results of checks and the marks of the sweep. No key is needed.
This package imports ``store``, ``formats``, ``humanize`` and ``errors``.
"""
