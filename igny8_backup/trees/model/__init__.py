"""The values that the rest of ``trees`` works with.

Names and their escaped form (``names``), the items of a scan (``entries``), index records (``records``),
owners, extended attributes (``xattrs``), facts about a tree as a whole (``facts``), reasons for skipping
(``skips``), and the error for damaged data (``damage``). Only ``xattrs`` writes to the disk. Imports nothing
else of ``trees``.
"""
