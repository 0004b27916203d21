"""Remove backups that the retention policy no longer keeps, and objects that no backup needs.

``prune`` applies the policy, ``remove`` removes one backup, and ``sweep`` removes orphans in two steps.
``untrusted`` removes untrusted backups that an operator has chosen. ``locked`` finds objects that cannot be
deleted yet, and ``old_records`` deletes the records of removed backups when they are old.
"""
