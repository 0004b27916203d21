"""Folders on disk: backed up into packs and an index, restored into a staging folder, swapped with live ones.

``archive`` reads a tree, ``extract`` writes a tree, ``swap`` exchanges two trees; they do not import one
another. They use ``scan`` (the walk), ``worker_protocol`` (worker processes), ``index``, ``tar``, ``fs`` and
``model``; each of these imports only those after it. Nothing here imports Django, so that worker processes
start fast and hold no secret.

A path is always ``bytes`` relative to the root of the tree, its components joined by ``b"/"``; the root
itself is ``b""``.
"""
