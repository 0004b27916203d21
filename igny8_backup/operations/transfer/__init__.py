"""Move objects between this machine and a storage, encoded, hashed and checked.

``upload.Upload`` compresses, encrypts, hashes and stores; ``download`` reads objects and checks their bytes
before they are decoded.
"""
