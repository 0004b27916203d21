"""Access to the project's Celery workers and queues over the broker.

``workers`` finds the Celery app, lists and stops its workers and purges its queues. ``control`` is the
connection to the broker, and ``queue`` sends a task to the workers. ``time_limit`` interrupts a task. Celery
is optional, so it is imported inside functions only. This package imports ``errors``, ``common`` and
``streams``.
"""
