"""Write a tree from its packs (tars) and its index, and check stored trees without writing them.

Entry points: ``client.unpacker`` starts an extract worker (``worker``), in which ``writer.TreeWriter`` writes
the files; ``partition.Partition`` stores the index records of each pack for the workers; ``check`` compares
stored objects with the index. May import ``worker_protocol``, ``index``, ``tar``, ``fs`` and ``model``.
"""
