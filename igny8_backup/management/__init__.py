"""The management commands: their options, questions and output. ``operations`` does the work.

``commands`` has a module for each command; ``base.BackupCommand`` is the base class of all of them. Only
commands raise ``CommandError``. No other package of this project imports this one.
"""
