"""Read the backups in storage and what this host remembers of them, and find reliable copies.

``read`` reads and judges all backups. ``select_copies`` says which copies restores read, ``newest_copies``
which ones verifications and drills take. ``storage_memory`` and ``expected_sizes`` keep what a host must
remember between runs; ``expected_hosts`` says which hosts should make backups. Imports ``operations.context``
and packages below ``operations``.
"""
