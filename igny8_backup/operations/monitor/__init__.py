"""Check whether the backups are healthy, from what the storage shows.

``run.monitor`` returns the conditions (``health``) of the storage, of each database and tree
(``part_conditions``), of each host (``host_conditions``) and of each copy
(``copy_conditions``). ``summary`` sends the result to the services in
``NOTIFY`` once a day or week. ``monitor`` reads the storage through
``maintain.inventory``, and changes nothing.
"""
