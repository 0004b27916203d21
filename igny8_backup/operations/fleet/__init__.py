"""Back up several hosts as one backup, the fleet backup, over the project's own Celery workers.

``coordinate.run_fleet`` is the coordinator: it sends each host its part and waits for the results, which it
reads from the storage, so that no result backend is needed. ``part.run_part`` is the work of one host.
``abandoned`` completes the records of coordinators that were killed. The package stands on ``backup``.
"""
