"""An in-memory Redis server for the sandbox process: ``server`` speaks the protocol of Redis.

``keyspace`` holds keys and values; ``strings``, ``collections``, ``sorted_sets`` and ``scripts`` carry out
the commands.
"""
