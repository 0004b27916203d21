"""Small helpers that every other package may import. They know nothing of backups or Django.

``filesystem`` calls the file system where it may lack a feature, ``humanize`` formats values for people,
``hidden`` keeps secrets out of output, ``deadline`` limits the time of a call, ``outside`` recognizes
exceptions such as time limits, ``clock`` returns the current time, and ``clock_skew`` finds times in the
future, which are not believed.
"""
