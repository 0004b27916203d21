"""Store only what changed in an archive: cut it by content, and refer to chunks that are already in storage.

The ``cutter`` divides an archive into chunks. A ``chunk_map`` on this host knows where storage has the chunks
of earlier dumps. The ``writer`` puts new chunks into packs and describes the archive as a list of ``runs``;
the ``reader`` puts the archive together again. ``kinds`` decides whether a dump is full, differential or
incremental. This package imports ``streams``, ``formats``, ``common`` and ``errors``, and
no Django.
"""
