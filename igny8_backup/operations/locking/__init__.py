"""Keep two runs from working at the same time.

``run_locks`` takes the locks of a run: on this host, on the database server and in the storage;
``lock_wait`` waits for locks of other runs. Imports no other package of ``operations`` but ``progress``.
"""
