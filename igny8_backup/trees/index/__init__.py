"""Write, read, check and compare the index of a tree, which has a line for each file, folder and link.

Entry points: ``index.IndexWriter``, ``index.read`` for an index from storage, ``index.lines`` for the local
copy, ``parent.ParentIndex``, and ``contents.KnownContents``. May import ``tar``, ``fs`` and ``model``.
"""
