"""Refuse unsafe settings, unencrypted backups in a public storage, and backups that may be forged.

``preconditions`` checks the settings before anything is read. ``public_storage`` checks whether everybody can
read the storage. ``genuine`` checks whether a backup is encrypted and signed as the settings demand.
"""
