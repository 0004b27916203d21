"""Database engines: describe, dump, restore and swap the databases of ``DATABASES``.

:func:`~igny8_backup.databases.registry.make_engine` returns the
:class:`~igny8_backup.databases.engine.Engine` of an alias. ``values`` defines the arguments and results of
its methods, ``names`` the names of the databases that a restore creates or renames. ``postgresql`` is the
engine for production, ``sqlite`` the engine for development. Engines may import settings (``conf``), streams
and formats. Operations, commands and tasks must not import the modules of a particular engine.
"""
