"""Connect to PostgreSQL: find the connection parameters of an alias, and open and end sessions.

``configured`` reads the settings. ``connection`` opens sessions. ``driver`` is the only module that imports
psycopg or psycopg2. ``sessions`` opens the session that holds a lock, and ends the sessions of others. Apart
from its own modules, this package imports only ``hints`` of ``postgresql``.
"""
