"""The index of a tree (one line for each file, folder and link): written, read, checked, compared.

Entry points: ``index.IndexWriter``, ``index.read`` for an index from storage, ``index.lines`` for the local
copy, and ``parent.ParentIndex``. May import ``tar``, ``fs`` and ``model``.
"""
