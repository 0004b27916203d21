"""Report what was backed up, verified and drilled, as evidence for an auditor or a customer.

``build.build_report`` reads the storage and returns an ``AuditReport`` (``model``). ``recovery`` measures
recovery points and gaps, ``redact`` removes names, and ``page`` renders one self-contained HTML page. Nothing
is changed, and no key is needed. The package uses the conditions of ``monitor``.
"""
