"""Restore several hosts from one fleet backup, or undo that, so that all of them change or none does.

``coordinate.coordinating`` yields the session of the coordinator: it collects the plans of all hosts, lets
them prepare, and decides when all are ready. ``host.run_host_restore`` is the work of one host, which stands
on ``operations.restore`` and its journal. Both talk to each other through signed documents in the storage.
"""
