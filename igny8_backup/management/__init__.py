"""The management commands: options, questions and output. The work is done by ``operations``.

``base.BackupCommand`` is the base class of all ``commands``. Commands read settings and values through
``operations``; only commands raise ``CommandError``. Nothing else in the package imports this one.
"""
