"""Sign documents in storage, and find out which key made a signature and what that key may sign.

``sshsig`` makes and checks signatures in the format of OpenSSH, ``signing_key`` makes and loads the private
key, and ``trust`` decides whether a signature is trusted: which key may sign which kind of document for which
host and part. Imports ``errors`` and ``common`` only, neither Django nor ``store``.
"""
