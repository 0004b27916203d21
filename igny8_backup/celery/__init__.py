"""Access to the project's Celery workers and queues over the broker.

``workers`` finds the Celery app, lists and stops its workers and purges its queues. ``control`` is the
connection to the broker. Celery is optional, so it is imported inside functions only. Of this project, the
package imports only ``errors``.
"""
