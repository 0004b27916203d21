"""Facts about this installation of the project, which are compared with those in backups or shown.

``migrations`` compares applied migrations with the code, ``secret_key`` compares ``SECRET_KEY`` without
revealing it, ``reading_settings`` lists what another machine needs to read the backups, and
``changed_defaults`` names defaults that an upgrade changed.
"""
