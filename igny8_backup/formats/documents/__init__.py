"""Documents in storage besides the manifest and the details of a backup.

Among them are annotations of backups, records of runs and spot checks, claims of the storage lock, and the
documents of copies and of rotated recipients.
"""
