"""The index of a tree: written, read and checked, and compared with a later walk.

Entry points: ``index.IndexWriter``, ``index.read`` for an index from storage, ``index.lines`` for the local
copy, and ``parent.ParentIndex``. May import ``tar``, ``fs`` and ``model``.
"""
