"""Folders on disk: walked, listed in an index, packed into tars, written again, swapped in whole.

``scan`` walks a tree in one fixed order. ``packs`` turns file contents into ordinary tars of
bounded size and everything else into records; ``index`` writes and reads those. ``extract``
rebuilds the tree beside the live one, in a private folder inside its root, and ``swap`` exchanges
the children of the two, so that a crash can be finished or undone.

A path is always ``bytes`` relative to the root of the tree, its components joined by ``b"/"``; the
root itself is ``b""``.
"""
