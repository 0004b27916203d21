"""What is in a store: backups, runs and annotations, and which backup a restore reads.

``backups.Catalog`` lists and reads manifests and run records; ``select.select`` chooses the backup for each
database and tree of a restore; ``annotations`` reads pins, results of checks and the marks on orphans
(objects that belong to no backup). Nothing is decrypted, so no private key is needed.
This package is built on ``store``, ``signing`` and ``formats``. It imports no database engine.
"""
