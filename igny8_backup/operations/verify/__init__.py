"""Verify that backups in storage are undamaged.

``run`` is the entry point: :func:`~igny8_backup.operations.verify.run.verify` checks one backup,
:func:`~igny8_backup.operations.verify.run.verify_all` all backups. ``verifier`` checks the objects of one
backup, ``content`` decrypts and parses them, ``sample`` chooses the objects to read each day, ``result``
stores the result in the storage.
"""
