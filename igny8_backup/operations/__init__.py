"""The operations behind commands, tasks and system checks. They neither print nor parse arguments.

Each operation takes a :class:`~igny8_backup.operations.context.BackupContext` and a request, and returns a
result. There is a package for each task of a user: ``backup``, ``restore`` (replaces live data), ``undo``,
``extract`` (restores into a new database or folder), ``verify``, ``drill`` (practises a restore),
``spot_check``, ``maintain`` (retention, pins, removal), ``monitor``, ``notify``, ``report``, ``status`` (for
the page in the admin), ``copies``, ``rotate`` (other recipients), ``keys`` and ``fleet``. ``staging`` fills
and checks databases before they become live.

Operations use databases only through the ``Engine`` interface.
"""
