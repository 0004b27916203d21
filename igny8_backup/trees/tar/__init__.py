"""The tar format of packs: ``format`` writes headers and reads packs, ``blocks`` fills memory with members.

May import ``fs`` and ``model``.
"""
