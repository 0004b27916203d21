"""Decide which backups to keep: the rules of the setting ``RETENTION``, and the policy that applies them.

``rules`` parses the setting. ``policy.plan`` is a pure function from copies to decisions with reasons. This
package imports ``common`` only.
"""
