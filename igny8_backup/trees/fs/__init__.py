"""Operations on files that Python does not offer, or that must be safe while other processes change files.

Linux calls (``linux``), sparse files (``sparse``), folders below a staging folder (``safe_dirs``), metadata
of restored files (``metadata``), deletion (``remove``), sizes (``measure``), tests for free space
(``reserve``), and folders that backups and swaps ignore (``left_alone``). May import ``model`` only.
"""
