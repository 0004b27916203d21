"""The PostgreSQL engine.

``engine`` implements the interface and delegates to three packages: ``dump`` runs ``pg_dump``, ``restore``
builds a staging database and swaps it in, ``in_place`` replaces the contents of the live database in one
transaction. The other modules of this folder are shared by them: connections, client programs, catalog
queries, probes.
``dump`` and ``restore`` do not import each other.
"""
