"""The format of everything in storage: keys, manifests, details, annotations, and their JSON.

``keys`` builds and parses object keys, ``records`` converts dataclasses to JSON and back, and the other
modules define the dataclasses. The field names are the JSON keys, so they never change. This package imports
``errors`` and no Django.
"""
