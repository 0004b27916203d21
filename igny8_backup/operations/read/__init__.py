"""Read what operations need from a storage: dumps, details of backups, and all manifests at once.

``dump.open_dump`` reads a dump, stored whole or as chunks; ``details`` decrypts the description of the
databases; ``snapshot`` shows the storage as it was at one moment, with few requests.
"""
