"""A view of a store at one moment, for operations that read everything: list, monitor, prune, backup.

``snapshot_store.SnapshotStore`` lists each folder once and reads each small object once;
``snapshot_catalog.SnapshotCatalog`` parses each manifest and run record once. ``document_cache`` keeps small
objects in ``STATE_DIR``, so that a later run need not read them again. ``collected`` reads and makes an
object with copies of many of them. ``listing`` lists several folders at the same time,
and ``listed_folder`` keeps what it finds. This package imports modules of ``catalog``, and ``store``,
``formats``, ``signing``, ``streams``, ``common`` and ``errors``.
"""
