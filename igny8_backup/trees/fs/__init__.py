"""Operations on files that Python does not offer, or that must be safe while other processes change files.

Linux calls (``linux``), sparse files (``sparse``), folders below a staging folder (``safe_dirs``), metadata
of restored files (``metadata``) and deletion (``remove``). May import ``model`` only.
"""
