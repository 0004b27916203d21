"""Locks that allow one writer at a time: on this host, on a database server, and in the storage.

``host`` has the lock on a file in ``STATE_DIR`` and the advisory lock of PostgreSQL; ``storage`` locks a
storage for all hosts that use it. ``operations.locking`` decides which of them a run takes.
"""
