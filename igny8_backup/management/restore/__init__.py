"""Options and output of ``restore_all``, ``extract_backup`` and ``undo_restore``.

``options`` and ``workers`` add command-line options and turn them into the arguments of an operation.
``plan_text`` and ``result_text`` format plans and results. ``in_place`` is ``restore_all --in-place``.
"""
