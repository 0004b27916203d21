"""Make, keep and read the status document and the activity document, which the page in Django's admin shows.

``refresh.refresh_status`` monitors the backups and keeps the result; ``build`` makes the document from the
inventory of the storage. ``follow`` reports work that runs. ``keep`` writes both documents to the cache
``STATUS_CACHE`` and to ``STATE_DIR``, and reads them.
"""
