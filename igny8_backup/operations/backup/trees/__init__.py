"""Back up trees of files.

``tree`` stores the packs and the index of one tree. ``parent_index`` and ``local_index`` find the backup that
it is compared with; ``mounts`` and ``exclusions`` warn about files that the backup does not contain.
"""
