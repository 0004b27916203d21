"""The values that the rest of ``trees`` works with; no module here writes to the disk except ``xattrs``.

Names and their escaped form (``names``), what a scan yields (``entries``), index records (``records``),
owners, extended attributes, reasons for skipping (``skips``), and the error for damaged data (``damage``).
Imports nothing else of ``trees``.
"""
