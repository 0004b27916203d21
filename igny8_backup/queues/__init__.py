"""Queue a task of this package, from a process that must not do the work itself.

``choose`` is the entry point: it chooses the queue and sends the task. ``celery_queue`` and ``django_queue``
are the two queues behind it: the workers of Celery, and those of a backend in Django's ``TASKS``. This
package may import ``celery`` and ``conf``.
"""
