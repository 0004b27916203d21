"""Readers of the keys of the setting ``IGNY8_BACKUP``, with one module for each subject.

``conf.build`` calls their functions. Each function checks one or a few keys, records the problems in a
``Reader``, and returns typed values.
"""
