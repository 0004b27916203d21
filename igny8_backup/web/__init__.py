"""The pages about backups in Django's admin. They show the status document, and never read the storage.

``model_admin.BackupAdmin`` has the URLs, the permissions and the views, and ``pages`` the pages.
``overview`` and ``detail_pages`` make what the templates show; ``calendar`` and ``charts`` compute the
drawings from ``series``; ``failures`` explains errors. This package may import ``operations``, and
is imported by ``admin`` only.
"""
