"""Write a tree from its packs and its index, and check stored trees without writing them.

Entry points: ``client.unpacker`` starts an extract worker (``worker``), in which ``writer.TreeWriter`` writes
the files; ``partition`` gives each worker the index records of its pack; ``check`` compares stored objects
with the index. May import ``scan`` and everything below it, but neither ``archive`` nor ``swap``.
"""
