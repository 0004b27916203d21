"""Folders on disk: backed up into packs and an index, restored into a staging folder, swapped with live ones.

``archive`` reads a tree, ``extract`` writes one, ``swap`` exchanges two; they do not import one another. All
three use ``scan`` (the walk), ``worker_protocol`` (work in other processes), ``index``, ``tar``, ``fs`` and
``model``, each of which imports only those after it. Nothing here imports Django: the workers start fast, and
they know no secret.

A path is always ``bytes`` relative to the root of the tree, its components joined by ``b"/"``; the root
itself is ``b""``.
"""
