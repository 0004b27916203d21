"""Read a tree: compare it with the index of its last backup, and write changed files into packs (tars).

Entry points: ``client.tree_reader`` starts the archive worker (``worker``), in which ``packs.PackWriter``
does the work. ``hash_client.Hashers`` are further processes, for files that may have kept their contents.
This package may import ``scan`` and the packages after it in the list in ``trees``, but
neither ``extract`` nor ``swap``.
"""
