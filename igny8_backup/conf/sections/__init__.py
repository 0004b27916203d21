"""Readers of the keys of the setting ``IGNY8_BACKUP``, with one module for each subject.

``conf.build`` calls them. Each checks its keys, records problems in a ``Reader``, and returns typed values.
"""
