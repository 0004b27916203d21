"""File trees: their backup, their restore, and the swap of a restored tree with the live one.

The files of a tree are stored in packs (tars of bounded size), its entries in an index (one line for each
file, folder and link). A restore builds the new tree in a staging folder inside the live one, then swaps
both.

``archive`` reads a tree, ``extract`` writes a tree, ``swap`` exchanges two trees; they do not import one
another. They use ``scan`` (the walk), ``worker_protocol`` (worker processes), ``index``, ``tar``, ``fs`` and
``model``; each of these imports only those after it. Nothing here imports Django, so that worker processes
start fast and hold no secret.

A path is always ``bytes`` relative to the root of the tree, its components joined by ``b"/"``; the root
itself is ``b""``.
"""
