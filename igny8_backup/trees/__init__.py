"""File trees: their backup, their restore, and the swap of a restored tree with the live one.

The files of a tree are stored in packs (tars of bounded size), its entries in an index (one line for each
file, folder and link). A restore builds the new tree in a staging folder inside the live tree, then swaps
the two trees.

``archive`` reads a tree, ``extract`` writes a tree, ``swap`` exchanges two trees. These three do not import
one another. They use ``scan`` (the walk), ``worker_protocol`` (worker processes), ``index``, ``tar``, ``fs``
and ``model``. In this list, each module or package imports only those that come after it. Nothing in
``trees`` imports Django, so that worker processes start fast and hold no secret.

A path is always ``bytes`` relative to the root of the tree, its components joined by ``b"/"``; the root
itself is ``b""``.
"""
