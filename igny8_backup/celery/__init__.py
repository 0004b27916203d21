"""Access to the project's Celery workers and queues over the broker.

``workers`` finds the Celery app, lists and stops its workers and purges its queues. ``control`` is the
connection to the broker, and ``send`` sends a task to the workers. ``hosts`` asks the workers of a fleet
which hosts they run on. ``time_limit`` interrupts a task. Celery is optional, so it is imported inside
functions only, except by ``host_answer``, which only workers import. This package imports ``errors``,
``common``, ``conf`` and ``streams``.
"""
