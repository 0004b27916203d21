"""Access to the filesystem that Python does not offer, or that must be safe against concurrent changes.

Linux calls (``linux``), sparse files (``sparse``), folders below a staging folder (``safe_dirs``), metadata
of restored files (``metadata``) and deletion (``remove``). May import ``model`` only.
"""
