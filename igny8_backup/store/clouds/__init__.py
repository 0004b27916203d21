"""Stores for Azure, Google Cloud Storage and SFTP, where the classes of django-storages do not suffice.

``blobs`` has what Azure and Google have in common. ``azure`` and ``google`` import the client library of
their service, so ``open_store`` imports each module only for a storage of its kind.
"""
