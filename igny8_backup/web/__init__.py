"""The pages about backups in Django's admin. They show the status document; no request reads the storage.

``model_admin.BackupAdmin`` has the URLs, the permissions and the views, and ``pages`` the pages.
``overview``, ``detail_pages`` and ``activity`` make what the templates show; ``calendar`` and ``charts``
compute the drawings from ``series``; ``failures`` explains errors. ``refresh`` reads the storage in the
background if the document is old. This package may import ``operations`` and ``queues``, and is imported by
``admin`` only.
"""
