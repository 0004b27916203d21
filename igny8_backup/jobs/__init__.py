"""The work of each task, whichever queue has delivered it. If the operation fails, an exception is raised.

``backup`` makes backups, ``upkeep`` does everything else, and ``reporting`` reports the outcome. They call
the same operations as the commands. ``tasks`` registers the functions with Celery, and ``django_tasks`` with
Django's own tasks. This package knows neither of the two; it may import ``operations``.
"""
