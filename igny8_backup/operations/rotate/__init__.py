"""Change the recipients of existing backups without encrypting their data again.

``plan`` finds the backups that can be changed, and ``run`` carries out the plan. ``objects`` stores the
objects with new headers, ``switch`` replaces the manifests, and ``journal`` remembers what is done, so that
an interrupted rotation continues.
"""
