"""Make the keys of a project, and find out which backups an identity opens.

Entry points: :func:`~igny8_backup.operations.keys.keygen.make_keys` for new pairs of keys, and
:func:`~igny8_backup.operations.keys.identity_check.check_identity`, which decrypts the header of each object.
"""
