"""An application shaped like igny8_core: accounts, billing, published sites, content, automation."""

from importlib.util import find_spec

if find_spec("celery"):
    # Imported with Django, so that `@shared_task` finds this application and its broker.
    from project.celery import app as celery_app

    __all__ = ["celery_app"]
