"""Read the backups in storage and what this host remembers of them, and find reliable copies.

``read`` reads and judges all backups; ``newest_copies`` says which copies verifications and drills take.
``storage_memory`` and ``expected_sizes`` keep what a host must remember between runs; ``expected_hosts`` says
which hosts should make backups. Imports ``operations.context`` and packages below ``operations``.
"""
