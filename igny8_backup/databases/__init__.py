"""Database engines: describe, dump, restore and swap the databases of ``DATABASES``.

The rest of the package uses :class:`~igny8_backup.databases.engine.Engine`, which
:func:`~igny8_backup.databases.registry.make_engine` builds for an alias. ``values`` holds what engines take
and return, ``names`` the names of staging and previous databases. ``postgresql`` is for production,
``sqlite`` for development only. Engines may import settings (``conf``), streams and formats; operations,
commands and tasks may not import the modules of an engine.
"""
