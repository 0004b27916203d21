"""The operations behind commands, tasks and system checks. They neither print nor parse arguments.

Each takes a :class:`~igny8_backup.operations.context.BackupContext` (see ``context``) and a frozen request,
and returns a frozen result. The packages are the steps of the work: ``backup``, ``restore`` (replaces live
data), ``extract`` (restores beside it), ``verify``, ``drill``, ``maintain`` (retention, monitoring) and
``notify``; ``staging`` prepares restored databases for all of them. Operations may import everything below
them, databases only through the ``Engine`` interface.
"""
