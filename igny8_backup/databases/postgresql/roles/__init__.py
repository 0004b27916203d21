"""What the connecting role may do: its privileges, its memberships, and the limits on its sessions.

``read_privileges`` finds the objects that a backup may not read. ``membership`` finds the roles for which a
restore may act. ``powers`` describes what the role of a restore could do outside the database. ``limits``
finds out how many sessions the server permits. ``access`` reads the owners and privileges of the objects in a
database. ``drill_role`` creates the role of a drill. This package imports ``connections``.
"""
