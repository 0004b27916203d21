"""Access to the project's Celery workers and queues over the broker.

``workers`` finds the Celery app, lists and stops its workers and purges its queues; ``control`` is the
connection to the broker. Celery is optional and imported inside functions only. This package imports
``errors``.
"""
