"""Cut the dump of a database into chunks, and store only the chunks that storage does not have yet.

``plan`` decides the kind of the dump, and to which packs the dump can refer. ``dumps`` stores the dump. The
map of chunks in ``STATE_DIR`` is replaced after the manifest was stored. Entry point: ``ChunkedDumps``.
"""
