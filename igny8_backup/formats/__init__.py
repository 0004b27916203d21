"""The format of everything in storage: keys, manifests, details, annotations, and their JSON.

``keys`` builds and parses object keys, ``records`` converts dataclasses to JSON and back, and the other
modules define the dataclasses; ``parts`` has those of the databases and trees in a manifest. The names of
their fields are the JSON keys, so they never change. Of this project, the package imports only ``errors`` and
``common``. It does not import Django.
"""
