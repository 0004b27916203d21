"""The parts of a backup as its manifest describes them: databases and trees, and the packs that they need.

``database.DatabasePart`` and ``tree.TreePart`` are the entries of a manifest, with the base class
``packed.PackedPart``. ``pack_list_reader`` reads the lists of packs into the columns of ``listed_packs``.
This package imports modules of ``formats``, and ``errors``.
"""
